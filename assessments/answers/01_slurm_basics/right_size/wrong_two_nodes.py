# promised: one loop keeps one CPU busy, and 8 were reserved. One would do: --cpus-per-task=1

from tests.labs.records import job

answer = {"job": 17}
records = [job(17, elapsed_s=9, cpus=8, nodes=("node1", "node2"), cpu_used_s=7.9)]
