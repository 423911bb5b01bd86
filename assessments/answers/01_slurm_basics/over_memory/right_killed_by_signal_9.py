# right

from tests.labs.records import job, step

answer = {"job": 17, "state": "FAILED"}
records = [
    job(
        17,
        state="FAILED",
        exit_code="0:9",
        memory_asked_bytes=100 * 2**20,
        steps={"batch": step("batch", state="CANCELLED", max_rss_bytes=402 * 2**20)},
    )
]
