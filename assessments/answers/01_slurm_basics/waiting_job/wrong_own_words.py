# promised: is no reason of SLURM's: write its word as it stands in

from tests.labs.records import job

answer = {"job": 17, "reason": "all nodes are busy"}
records = [job(17, state="CANCELLED", start_s=None, end_s=2005.0, nodes=())]
