# promised: it hardly computed at all. A job that sleeps uses no CPU time

from tests.labs.records import job

answer = {"job": 17}
records = [job(17, elapsed_s=9, cpu_used_s=0.1)]
