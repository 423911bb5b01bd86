# right

from tests.labs.records import job

answer = {"job": 17, "reason": "(Priority)"}
records = [job(17, state="PENDING", start_s=None, nodes=())]
