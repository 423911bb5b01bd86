# right

from tests.labs.records import job

answer = {"job": 17}
records = [job(17, elapsed_s=9, cpu_used_s=3.0)]
