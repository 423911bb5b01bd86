# promised: srun started 8 ranks on 2 nodes

from tests.labs.records import job, step

answer = {"job": 17}
records = [job(17, nodes=("node1", "node2"), steps={"0": step(nodes=("node1", "node2"), tasks=8)})]
