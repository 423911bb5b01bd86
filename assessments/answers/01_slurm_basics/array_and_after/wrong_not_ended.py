# promised: array 20 has not ended (4 tasks left): wait_for(20)

from tests.labs.records import array, job

answer = {"array": 20, "after": 30}
records = [
    *array(20, state="RUNNING"),
    job(
        30,
        start_s=2012.0,
        submit_line="sbatch --parsable --dependency=afterok:20",
        reason="Dependency",
    ),
]
