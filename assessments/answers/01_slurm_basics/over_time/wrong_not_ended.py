# promised: job 17 still runs: wait_for(17)

from tests.labs.records import job

answer = {"job": 17, "state": "TIMEOUT"}
records = [job(17, state="RUNNING")]
