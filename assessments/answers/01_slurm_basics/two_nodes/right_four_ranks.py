# right

from tests.labs.records import job, step

answer = {"job": 17}
records = [
    job(
        17,
        nodes=("node1", "node2"),
        steps={"batch": step("batch"), "0": step(nodes=("node1", "node2"), tasks=4)},
    )
]
