# promised: task 0 of array 20 ended as FAILED: all must complete

from tests.labs.records import array, job

answer = {"array": 20, "after": 30}
records = [
    *array(20, state="FAILED", exit_code="1:0"),
    job(
        30,
        start_s=2012.0,
        submit_line="sbatch --parsable --dependency=afterok:20",
        reason="Dependency",
    ),
]
