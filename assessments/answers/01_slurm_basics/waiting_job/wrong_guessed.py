# promised: accounting has kept no such reason for job 17

from tests.labs.records import job

answer = {"job": 17, "reason": "QOSMaxJobsPerUserLimit"}
records = [job(17, state="CANCELLED", start_s=None, end_s=2090.0, nodes=())]
