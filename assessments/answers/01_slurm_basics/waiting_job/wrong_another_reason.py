# promised: accounting has kept another reason for job 17

from tests.labs.records import job

answer = {"job": 17, "reason": "Resources"}
records = [job(17, start_s=2040.0, reason="Dependency")]
