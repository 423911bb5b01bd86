# right

from tests.labs.records import job, step

answer = {"job": 17, "state": "OUT_OF_MEMORY"}
records = [
    job(
        17,
        state="OUT_OF_MEMORY",
        exit_code="0:125",
        memory_asked_bytes=100 * 2**20,
        steps={"batch": step("batch", max_rss_bytes=203 * 2**20)},
    )
]
