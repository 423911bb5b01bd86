"""A run that is killed, unplugged, cut off or out of time goes on, and its curve shows no trace.

On the class cluster, in the best mode only: the same daemons decide in every mode. The undisturbed
run is the same configuration, trained here without a cluster.
"""

import dataclasses
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from course_lib.config import Layout
from course_lib.parallel.launch import run_ranks
from course_lib.presets import tiny
from course_lib.runlog import create_run_dir, read_metrics, read_result
from course_lib.train.loop import train_on
from tests.slurm.conftest import Cluster, Person, build_cluster, modes, wait_for

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def faulty(people: list[Person], place: Path) -> Iterator[Cluster]:
    """A cluster of its own: what is broken here must not stand in the way of other tests."""
    cluster = build_cluster(modes()[0], people, place, "faults")
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.workshop("down")
        shutil.rmtree(cluster.base)


def submit(cluster: Cluster, corpus: Path, nodes: int, *words: str) -> tuple[str, Path]:
    """Submit `tiny` and return the job's number and its run folder."""
    command = [cluster.person.python, "-m", "course_lib.cli", "submit", "tiny"]
    command += ["--nodes", str(nodes), "--corpus", str(corpus), *words]
    done = cluster.person.run(*command, timeout_s=300, **cluster.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    job = done.stdout.split("workshop watch ")[1].split()[0]
    return job, Path(done.stdout.split("run folder: ")[1].splitlines()[0])


def losses(run_dir: Path) -> dict[int, float]:
    return {record["step"]: record["loss"] for record in read_metrics(run_dir) if "loss" in record}


def undisturbed(
    corpus: Path, base: Path, monkeypatch, ranks: int, layout: Layout, steps: int, **changes: float
) -> dict[int, float]:
    monkeypatch.setenv("WORKSHOP_BASE", str(base))
    run = tiny()
    run = dataclasses.replace(
        run,
        layout=layout,
        data=dataclasses.replace(run.data, corpus=str(corpus)),
        train=dataclasses.replace(run.train, steps=steps, tensorboard=False, **changes),
    )
    run_dir = create_run_dir(run)
    run_ranks(train_on, ranks, run_dir, layout=layout, timeout_s=500)
    return losses(run_dir)


def state(cluster: Cluster, job: str) -> str:
    return cluster.shell(f"squeue -h -j {job} -o %T", ok=False).strip()


def tail(cluster: Cluster, run_dir: Path) -> str:
    outputs = "".join(path.read_text()[-3000:] for path in run_dir.glob("slurm-*.out"))
    return cluster.shell("squeue; sinfo", ok=False) + outputs


def wait_for_step(cluster: Cluster, run_dir: Path, step: int, timeout_s: float = 240) -> None:
    wait_for(
        lambda: max(losses(run_dir), default=0) >= step or read_result(run_dir) is not None,
        timeout_s,
        f"step {step}",
        seen=lambda: tail(cluster, run_dir),
    )
    assert read_result(run_dir) is None, "the run was over before it could be disturbed"


def wait_for_end(cluster: Cluster, run_dir: Path, timeout_s: float = 400) -> dict:
    wait_for(
        lambda: read_result(run_dir) is not None,
        timeout_s,
        "the result",
        seen=lambda: tail(cluster, run_dir),
    )
    result = read_result(run_dir)
    assert result is not None
    return result


def test_ten_killed_ranks(faulty: Cluster, small_corpus: Path, tmp_path, monkeypatch) -> None:
    steps, chance = 440, random.Random(7)
    job, run_dir = submit(
        faulty, small_corpus, 2, "--max-restarts", "12", "--train.steps", str(steps),
        "--train.checkpoint-every", "7", "--train.val-every", "200",
    )  # fmt: skip
    moments = sorted(chance.sample(range(10, steps - 40), 10))
    for killed, moment in enumerate(moments, start=1):
        wait_for_step(faulty, run_dir, moment)
        (victim,) = _ranks(faulty, chance.randrange(2))
        os.kill(victim, signal.SIGKILL)
        wait_for(
            lambda count=killed: len(list((run_dir / "earlier_attempts").glob("*"))) >= count,
            120,
            f"restart {killed}",
            seen=lambda: tail(faulty, run_dir),
        )
    wait_for_end(faulty, run_dir)
    assert len(list((run_dir / "earlier_attempts").iterdir())) == 10
    expected = undisturbed(small_corpus, tmp_path, monkeypatch, 2, Layout(), steps)
    assert losses(run_dir) == pytest.approx(expected, abs=1e-6)


def _ranks(cluster: Cluster, rank: int) -> list[int]:
    """Return the pids of a rank: one, once torchrun has started the new one."""
    deadline = time.monotonic() + 60
    while True:
        found = []
        for pid in cluster.pids("python"):
            try:
                if f"\0RANK={rank}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                    found.append(pid)
            except OSError:
                continue
        if len(found) == 1 or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def test_node_off_then_cable_cut(
    faulty: Cluster, small_corpus: Path, tmp_path, monkeypatch
) -> None:
    steps = 600
    job, run_dir = submit(
        faulty, small_corpus, 2, "--train.steps", str(steps), "--train.checkpoint-every", "10",
        "--train.val-every", "300",
    )  # fmt: skip
    faults = [(("node", "off", "node2"), ("node", "on", "node2"))]
    if faulty.mode != "loopback":
        faults.append((("link", "node2", "cut"), ("link", "node2", "join")))
    for fault, mending in faults:
        wait_for_step(faulty, run_dir, max(losses(run_dir), default=0) + 15)
        assert faulty.workshop(*fault).returncode == 0
        wait_for(
            lambda: state(faulty, job) == "PENDING",
            120,
            f"job {job} to be requeued after {fault}",
            seen=lambda: tail(faulty, run_dir),
        )
        assert faulty.workshop(*mending).returncode == 0
    result = wait_for_end(faulty, run_dir)
    assert result["resumed_from_step"] > 0
    assert len(list((run_dir / "earlier_attempts").iterdir())) == len(faults)
    expected = undisturbed(small_corpus, tmp_path, monkeypatch, 2, Layout(), steps)
    assert losses(run_dir) == pytest.approx(expected, abs=1e-6)


def test_time_limit(faulty: Cluster, small_corpus: Path, tmp_path, monkeypatch) -> None:
    """With tp and pp over four nodes, so that every rank saves another part of the model.

    The learning rate is constant after the warm-up, so that a shorter run has the same losses.
    """
    steps, layout = 6000, Layout(tp=2, pp=2)
    job, run_dir = submit(
        faulty, small_corpus, 4, "--time", "2", "--layout.tp", "2", "--layout.pp", "2",
        "--train.steps", str(steps), "--train.val-every", "3000", "--train.min-lr-fraction", "1",
    )  # fmt: skip
    wait_for_step(faulty, run_dir, 1)
    wait_for(
        lambda: state(faulty, job) == "PENDING",
        150,
        f"job {job} to be requeued before its time limit",
        seen=lambda: tail(faulty, run_dir),
    )
    output = (run_dir / f"slurm-{job}.out").read_text()
    assert "asked to stop" in output
    (saved,) = (run_dir / "checkpoints").glob("step_*")
    assert len(list(saved.glob("rank_*.safetensors"))) == 4
    assert not (run_dir / "failed").exists()
    assert json.loads((saved / "index.json").read_text())["step"] == max(losses(run_dir))
    # Its second life has all the time it needs.
    faulty.shell(f"scontrol update jobid={job} TimeLimit=10")
    wait_for_step(faulty, run_dir, max(losses(run_dir)) + 1, timeout_s=300)
    done = dict(losses(run_dir))
    faulty.shell(f"scancel {job}")
    wait_for(lambda: state(faulty, job) == "", 60, f"job {job} to be gone")
    # scancel is meant: the job does not come back, but what it had done is saved.
    assert "CANCELLED" in faulty.shell(f"sacct -X -n -j {job} -o state")
    assert read_result(run_dir) is None
    expected = undisturbed(
        small_corpus, tmp_path, monkeypatch, 4, layout, max(done), min_lr_fraction=1.0
    )
    assert done == pytest.approx(expected, abs=1e-6)
