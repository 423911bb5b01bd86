# promised: `after` waits until the array has begun

from tests.labs.records import array, job

answer = {"array": 20, "after": 30}
records = [
    *array(20),
    job(
        30,
        start_s=2002.0,
        submit_line="sbatch --parsable --dependency=after:20",
        reason="Dependency",
    ),
]
