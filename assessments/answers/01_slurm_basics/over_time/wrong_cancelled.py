# promised: job 17 ended as CANCELLED: it was cancelled (scancel)

from tests.labs.records import job

answer = {"job": 17, "state": "TIMEOUT"}
records = [job(17, state="CANCELLED", exit_code="0:15")]
