"""Lab 01 on a real cluster: its jobs are sent, accounting tells of them, the checks judge that.

The made-up records of the answer bank are shaped after what is seen here.
"""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from tests.slurm.conftest import Cluster, modes

pytestmark = pytest.mark.cluster

PROGRAM = Path(__file__).with_name("lab_01_jobs.py")
PASSED = "✓"
SLOW = {
    "killed at its limit": PASSED,
    "saved in time": PASSED,
    "work in the foreground": "bash runs a trap only when the command in the foreground has ended",
    "nobody listens": "the signal ended the script itself (exit code 0:10)",
}
EXPECTED = {
    "nodes are busy": PASSED,
    "not its time yet": PASSED,
    "limit of the QOS": PASSED,
    "another reason": "accounting has kept another reason",
    "did not wait": "did not wait: it started",
    "done in time": "it was done in time",
    "killed for its memory": PASSED,
    "enough memory": "it never went above its limit",
    "after all tasks": PASSED,
    "after the beginning": "`after` waits until the array has begun",
    "after one task": "waits for one task only",
    "no dependency": "no dependency",
    "no array": "is a single job, no array",
    "one CPU": PASSED,
    "four CPUs": "one loop keeps one CPU busy, and 4 were reserved",
    "work made shorter": "change what is reserved, not the work",
    "four ranks on two nodes": PASSED,
    "no srun": "no step ran in it",
    "one rank on each": "srun started 2 ranks on 2 nodes",
    "one node": "had 1 node, not 2",
    "a right script": PASSED,
    "no such job": "SLURM's accounting knows no job 99999",
    "sbatch: right": PASSED,
    "sbatch: 500MB": PASSED,
    "sbatch: 0.5G": "Invalid --mem specification",
    "sbatch: --node": "is ambiguous",
    "sbatch: no shell": "This does not look like a batch script",
    "sbatch: empty first line": "This does not look like a batch script",
    "sbatch: too many nodes": "its partition has fewer nodes",
    "sbatch: late option": PASSED,
    "sbatch: small letters": PASSED,
    "sbatch: space": PASSED,
}


def test_jobs_are_judged_by_what_accounting_says(cluster: Cluster) -> None:
    slow = cluster.mode == modes()[0]  # a time limit is a minute or more; the daemons are the same
    folder = cluster.base / "lab 01"
    cluster.shell(f"mkdir {shlex.quote(str(folder))}")
    program, said = cluster.base / PROGRAM.name, cluster.base / "verdicts.json"
    shutil.copyfile(PROGRAM, program)
    words = [cluster.person.python, str(program), str(said), *(["slow"] if slow else [])]
    cluster.shell(f"cd {shlex.quote(str(folder))}; {shlex.join(words)}", timeout_s=420)
    verdicts = json.loads(said.read_text())
    expected = EXPECTED | (SLOW if slow else {})
    print(f"\n{cluster.mode}: answer -> what the check says")
    for name, verdict in verdicts.items():
        print(f"  {name:26s} -> {verdict}")
    assert verdicts.keys() == expected.keys()
    wrong = {name: verdicts[name] for name in expected if expected[name] not in verdicts[name]}
    assert wrong == {}
