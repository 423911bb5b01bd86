# right

from tests.labs.records import array, job

answer = {"array": 20, "after": 30}
records = [
    *array(20, 6),
    job(30, start_s=2011.0, submit_line="sbatch --parsable -d afterok:20", reason="Dependency"),
]
