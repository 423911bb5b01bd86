# promised: = 22%: one loop keeps one CPU busy, and 4 were reserved

from tests.labs.records import job

answer = {"job": 17}
records = [job(17, elapsed_s=9, cpus=4, cpu_used_s=7.9)]
