# right

from tests.labs.records import job

answer = {"job": 17, "state": "timeout"}
records = [job(17, state="TIMEOUT", exit_code="0:0", elapsed_s=120, time_limit_s=120)]
