"""A training run through the real queue: it ends well, or its end names the rank that failed."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.slurm.conftest import Cluster, Person, build_cluster, modes, wait_for

pytestmark = pytest.mark.cluster


def _workshop(cluster: Cluster, *words: str):
    """Call the `workshop` command as a learner does, from outside."""
    module = [cluster.person.python, "-m", "course_lib.cli"]
    return cluster.person.run(*module, *words, timeout_s=300, **cluster.environment)


def _newest_run(cluster: Cluster) -> Path:
    return max(
        (cluster.base / "workspace" / "runs").iterdir(), key=lambda path: path.stat().st_mtime
    )


def test_two_nodes_train_and_account_for_it(cluster: Cluster) -> None:
    done = _workshop(cluster, "submit", "tiny", "--nodes", "2", "--watch")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "held-out loss" in done.stdout
    assert "the model writes" in done.stdout
    run = _newest_run(cluster)
    result = json.loads((run / "result.json").read_text())
    assert result["world_size"] == 2
    if cluster.mode != "loopback":
        assert sorted(result["hosts"]) == ["node1", "node2"]
    for name in ("config.json", "git.json", "metrics.jsonl", "job.sh", "checkpoints"):
        assert (run / name).exists(), name
    jobs = json.loads(_workshop(cluster, "jobs", "--json").stdout)
    assert "COMPLETED" in json.dumps(jobs)


def test_a_killed_rank_is_named_with_its_node(cluster: Cluster) -> None:
    done = _workshop(cluster, "submit", "tiny", "--nodes", "2", "--train.steps", "20000")
    assert done.returncode == 0, done.stdout + done.stderr
    job = done.stdout.split("workshop watch ")[1].split()[0]
    run = _newest_run(cluster)
    wait_for(lambda: (run / "metrics.jsonl").exists(), 90, "the first step")
    (victim,) = [pid for pid in cluster.pids("python") if _is_rank(pid, 1)]
    os.kill(victim, signal.SIGKILL)
    watched = _workshop(cluster, "watch", job)
    said = watched.stdout + watched.stderr
    assert watched.returncode == 1, said
    assert "rank 1 on " in said
    assert "SIGKILL" in said
    assert "rank 0 failed first" not in said


def _is_rank(pid: int, rank: int) -> bool:
    return f"\0RANK={rank}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes()


def test_doctor_finds_nothing_failed(cluster: Cluster) -> None:
    done = cluster.workshop("doctor", "--json", timeout_s=200)
    findings = json.loads(done.stdout)
    failed = [finding for finding in findings if finding["state"] == "failed"]
    assert failed == []
    assert done.returncode == 0
    assert len(findings) >= 15
    reduced = next(finding for finding in findings if "all-reduce" in finding["name"])
    assert "MB/s" in reduced["found"]


def test_training_works_without_accounting(people: list[Person], place: Path) -> None:
    cluster = build_cluster(modes()[0], people, place, "bare")
    try:
        cluster.up("--nodes", "2", "--no-accounting")
        done = _workshop(cluster, "submit", "tiny", "--nodes", "2", "--watch")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "no accounting" in _workshop(cluster, "jobs").stdout
    finally:
        cluster.down()
    shutil.rmtree(cluster.base)
