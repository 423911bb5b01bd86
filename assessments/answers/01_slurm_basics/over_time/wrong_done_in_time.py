# promised: it was done in time. Give it less time than it needs

from tests.labs.records import job

answer = {"job": 17, "state": "COMPLETED"}
records = [job(17, elapsed_s=12)]
