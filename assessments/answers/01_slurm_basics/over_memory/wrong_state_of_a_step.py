# promised: 'CANCELLED' is the State of its step 17.batch. Hand in that of the job
# itself, the line without a dot: slurm("sacct -X -j 17 -o State%20")

from tests.labs.records import job, step

answer = {"job": 17, "state": "CANCELLED"}
records = [
    job(
        17,
        state="FAILED",
        exit_code="0:9",
        memory_asked_bytes=100 * 2**20,
        steps={"batch": step("batch", state="CANCELLED", max_rss_bytes=400 * 2**20)},
    )
]
