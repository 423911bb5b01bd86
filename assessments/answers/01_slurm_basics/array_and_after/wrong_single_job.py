# promised: job 20 is a single job, no array

from tests.labs.records import job

answer = {"array": 20, "after": 30}
records = [
    job(20),
    job(
        30,
        start_s=2012.0,
        submit_line="sbatch --parsable --dependency=afterok:20",
        reason="Dependency",
    ),
]
