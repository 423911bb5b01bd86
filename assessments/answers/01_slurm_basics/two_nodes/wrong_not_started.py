# promised: job 17 still waits (Resources or Priority)

from tests.labs.records import job

answer = {"job": 17}
records = [job(17, state="PENDING", start_s=None, nodes=())]
