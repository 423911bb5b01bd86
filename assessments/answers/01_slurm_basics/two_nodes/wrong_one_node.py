# promised: had 1 node, not 2: --nodes=2

from tests.labs.records import job, step

answer = {"job": 17}
records = [job(17, steps={"0": step(tasks=4)})]
