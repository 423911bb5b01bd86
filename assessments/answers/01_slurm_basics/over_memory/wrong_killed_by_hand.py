# promised: failed by itself, with exit code 0:9, and was to be killed for its memory

from tests.labs.records import job, step

answer = {"job": 17, "state": "FAILED"}
records = [
    job(17, state="FAILED", exit_code="0:9", steps={"batch": step("batch", max_rss_bytes=2**20)})
]
