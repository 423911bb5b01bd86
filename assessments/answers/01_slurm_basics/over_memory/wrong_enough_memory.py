# promised: it never went above its limit (it used 401 MiB of 1000 MiB)

from tests.labs.records import job, step

answer = {"job": 17, "state": "COMPLETED"}
records = [job(17, steps={"batch": step("batch", max_rss_bytes=401 * 2**20)})]
