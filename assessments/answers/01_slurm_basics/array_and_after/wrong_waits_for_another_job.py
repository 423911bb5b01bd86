# promised: began 10 s before array 20 had ended: it was sent with afterok:19

from tests.labs.records import array, job

answer = {"array": 20, "after": 30}
records = [
    *array(20),
    job(
        30,
        start_s=2001.0,
        submit_line="sbatch --parsable --dependency=afterok:19",
        reason="Dependency",
    ),
]
