# promised: SLURM's accounting knows no job 71

from tests.labs.records import job

answer = {"job": 71, "state": "TIMEOUT"}
records = [job(17, state="TIMEOUT", exit_code="0:0")]
