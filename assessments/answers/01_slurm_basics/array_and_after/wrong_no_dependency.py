# promised: began 10 s before array 20 had ended: it had no dependency

from tests.labs.records import array, job

answer = {"array": 20, "after": 30}
records = [*array(20), job(30, start_s=2001.0, submit_line="sbatch --parsable", reason="")]
