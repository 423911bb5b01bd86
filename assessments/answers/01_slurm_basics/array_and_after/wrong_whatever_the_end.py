# promised: which also starts it when a task has failed: use --dependency=afterok:20

from tests.labs.records import array, job

answer = {"array": 20, "after": 30}
records = [
    *array(20),
    job(
        30,
        start_s=2012.0,
        submit_line="sbatch --parsable --dependency=afterany:20",
        reason="Dependency",
    ),
]
