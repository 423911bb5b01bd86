# promised: failed by itself, with exit code 1:0, and was to be killed for its memory

from tests.labs.records import job

answer = {"job": 17, "state": "OUT_OF_MEMORY"}
records = [job(17, state="FAILED", exit_code="1:0")]
