# promised: job 17 ended as CANCELLED

from tests.labs.records import job

answer = {"job": 17}
records = [job(17, state="CANCELLED", cpu_used_s=8.0)]
