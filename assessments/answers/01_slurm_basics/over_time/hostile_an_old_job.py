# promised: job 17 was sent before this lab was given out

from tests.labs.records import job

answer = {"job": 17, "state": "TIMEOUT"}
records = [job(17, state="TIMEOUT", exit_code="0:0", submit_s=10.0)]
