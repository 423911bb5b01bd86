# promised: change what is reserved, not the work

from tests.labs.records import job

answer = {"job": 17}
records = [job(17, elapsed_s=1, cpu_used_s=1.0)]
