# promised: srun started 4 ranks on 1 node,

from tests.labs.records import job, step

answer = {"job": 17}
records = [job(17, nodes=("node1", "node2"), steps={"0": step(tasks=4)})]
