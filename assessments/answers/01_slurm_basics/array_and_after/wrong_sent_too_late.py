# promised: was sent when array 20 had ended already

from tests.labs.records import array, job

answer = {"array": 20, "after": 30}
records = [
    *array(20),
    job(
        30,
        start_s=2016.0,
        submit_line="sbatch --parsable --dependency=afterok:20",
        reason="",
        submit_s=2015.0,
    ),
]
