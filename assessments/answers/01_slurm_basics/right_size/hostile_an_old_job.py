# promised: job 17 was sent before this lab was given out

from tests.labs.records import job

answer = {"job": 17}
records = [job(17, submit_s=0.0, cpu_used_s=8.0)]
