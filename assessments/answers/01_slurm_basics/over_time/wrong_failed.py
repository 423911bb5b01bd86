# promised: failed by itself, with exit code 127:0

from tests.labs.records import job

answer = {"job": 17, "state": "TIMEOUT"}
records = [job(17, state="FAILED", exit_code="127:0")]
