# promised: failed by itself, with exit code 127:0

from tests.labs.records import job

answer = {"job": 17}
records = [job(17, nodes=("node1", "node2"), state="FAILED", exit_code="127:0")]
