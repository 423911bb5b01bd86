# promised: job 17 is anna's, not yours (ada)

from tests.labs.records import job

answer = {"job": 17}
records = [job(17, user="anna", cpu_used_s=8.0)]
