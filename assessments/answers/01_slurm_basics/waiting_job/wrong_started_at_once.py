# promised: job 17 did not wait: it started 1 s after you sent it

from tests.labs.records import job

answer = {"job": 17, "reason": "Resources"}
records = [job(17)]
