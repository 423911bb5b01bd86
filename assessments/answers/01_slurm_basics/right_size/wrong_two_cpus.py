# promised: = 52%: one loop keeps one CPU busy, and 2 were reserved. One would do: --cpus-per-task=1

from tests.labs.records import job

answer = {"job": 17}
records = [
    job(
        17,
        elapsed_s=8,
        cpus=2,
        cpu_used_s=8.3,
        submit_line="sbatch --parsable --cpus-per-task=2",
    )
]
