# promised: job 17 is anna's, not yours (ada)

from tests.labs.records import job

answer = {"job": 17, "reason": "Resources"}
records = [job(17, state="CANCELLED", start_s=None, end_s=2005.0, nodes=(), user="anna")]
