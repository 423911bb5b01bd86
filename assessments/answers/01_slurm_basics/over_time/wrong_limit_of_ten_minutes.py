# promised: (--time= counts in minutes): slurm("scancel 17"), then send it with --time=1

from tests.labs.records import job

answer = {"job": 17, "state": "TIMEOUT"}
records = [job(17, state="RUNNING", time_limit_s=600)]
