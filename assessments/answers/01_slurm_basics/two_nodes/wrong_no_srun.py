# promised: no step ran in it: without srun the script runs on the first node only

from tests.labs.records import job, step

answer = {"job": 17}
records = [job(17, nodes=("node1", "node2"), steps={"batch": step("batch")})]
