# promised: job 20 is anna's, not yours (ada)

from tests.labs.records import array, job

answer = {"array": 20, "after": 30}
records = [
    *array(20, user="anna"),
    job(
        30,
        start_s=2012.0,
        submit_line="sbatch --parsable --dependency=afterok:20",
        reason="Dependency",
    ),
]
