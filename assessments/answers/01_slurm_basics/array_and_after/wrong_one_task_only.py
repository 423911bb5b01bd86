# promised: waits for one task only (afterok:20_0)

from tests.labs.records import array, job

answer = {"array": 20, "after": 30}
records = [
    *array(20),
    job(
        30,
        start_s=2012.0,
        submit_line="sbatch --parsable --dependency=afterok:20_0",
        reason="Dependency",
    ),
]
