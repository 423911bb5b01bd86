# right

from tests.labs.records import job

answer = {"job": 17, "reason": "QOSMaxJobsPerUserLimit"}
records = [job(17, start_s=2040.0, reason="QOSMaxJobsPerUserLimit")]
