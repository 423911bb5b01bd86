# promised: it will wait for ever: slurm("scancel 30")

from tests.labs.records import array, job

answer = {"array": 20, "after": 30}
records = [*array(20), job(30, state="PENDING", start_s=None, reason="DependencyNeverSatisfied")]
