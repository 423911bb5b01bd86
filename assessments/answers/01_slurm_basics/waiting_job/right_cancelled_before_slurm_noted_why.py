# right

from tests.labs.records import job

answer = {"job": 17, "reason": "BeginTime"}
records = [job(17, state="CANCELLED", start_s=None, end_s=2005.0, nodes=())]
