# right

from tests.labs.records import job, step

answer = {"job": 17}
records = [
    job(
        17,
        nodes=("node1", "node2"),
        steps={"0": step("hostname"), "1": step(nodes=("node1", "node2"), tasks=4)},
    )
]
