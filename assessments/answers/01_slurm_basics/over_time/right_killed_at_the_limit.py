# right

from tests.labs.records import job

answer = {"job": 17, "state": "TIMEOUT"}
records = [job(17, state="TIMEOUT", exit_code="0:0", elapsed_s=81)]
