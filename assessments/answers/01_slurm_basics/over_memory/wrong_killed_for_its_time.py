# promised: job 17 ended as TIMEOUT: it was killed at its time limit

from tests.labs.records import job

answer = {"job": 17, "state": "OUT_OF_MEMORY"}
records = [job(17, state="TIMEOUT")]
