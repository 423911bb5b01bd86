# promised: job 17 is anna's, not yours (ada)

from tests.labs.records import job, step

answer = {"job": 17}
records = [
    job(
        17,
        nodes=("node1", "node2"),
        user="anna",
        steps={"0": step(nodes=("node1", "node2"), tasks=4)},
    )
]
