# promised: 'Res??[2J?' is no reason of SLURM's

from tests.labs.records import job

answer = {"job": 17, "reason": "Res\0\x1b[2J\x07"}
records = [job(17, state="CANCELLED", start_s=None, end_s=2005.0, nodes=())]
