# right

from tests.labs.records import job

answer = {"job": 17}
records = [
    job(
        17,
        elapsed_s=9,
        cpus=2,
        cpu_used_s=4.4,
        submit_line="sbatch --parsable --cpus-per-task=1",
    )
]
