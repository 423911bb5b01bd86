# promised: srun started 2 ranks on 2 nodes, and 4 on 2 are asked for

from tests.labs.records import job, step

answer = {"job": 17}
records = [job(17, nodes=("node1", "node2"), steps={"0": step(nodes=("node1", "node2"), tasks=2)})]
