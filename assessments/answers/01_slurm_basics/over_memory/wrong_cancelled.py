# promised: was cancelled (scancel) before that could happen

from tests.labs.records import job

answer = {"job": 17, "state": "OUT_OF_MEMORY"}
records = [job(17, state="CANCELLED")]
