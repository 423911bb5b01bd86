"""Links and plugs: asked of the class cluster, and done without on any other."""

import dataclasses
import json
import subprocess
from types import SimpleNamespace

import pytest

from course_lib.presets import tiny
from course_lib.runlog import create_run_dir, write_json
from course_lib.slurm import class_cluster
from course_lib.slurm.class_cluster import (
    NotLost,
    link_rates,
    lose_a_node,
    set_links,
    start_again,
)
from course_lib.slurm.client import Job, JobStatus, SlurmError

STATUS = {
    "mode": "rootless",
    "abilities": ["bridge", "tbf"],
    "nodes": {"node1": {}, "node2": {}},
}


@pytest.fixture
def cluster(monkeypatch) -> list[str]:
    """A class cluster that notes what it is told."""
    told: list[str] = []
    monkeypatch.setenv("WORKSHOP_INSIDE", "1")

    def run(*words: str) -> subprocess.CompletedProcess:
        told.append(" ".join(words))
        out = json.dumps(STATUS) if words[0] == "status" else ""
        return subprocess.CompletedProcess(words, 0, out, "")

    monkeypatch.setattr(class_cluster, "_run", run)
    return told


def test_rates_are_set_on_every_node(cluster) -> None:
    said: list[str] = []
    assert link_rates() == ["1gbit", "100mbit"]
    set_links("100mbit", say=said.append)
    assert [line for line in cluster if line.startswith("link")] == [
        "link node1 100mbit",
        "link node2 100mbit",
    ]
    set_links("none", say=said.append)
    assert said == ["links of node1 to node2: 100mbit", "links of node1 to node2: no limit"]


def test_elsewhere_the_links_stay_as_they_are(monkeypatch) -> None:
    monkeypatch.delenv("WORKSHOP_INSIDE", raising=False)
    said: list[str] = []
    assert link_rates() == ["as it is"]
    for rate in ("as it is", "none"):
        set_links(rate, say=said.append)
    assert len(said) == 2 and "nobody can set their rate" in said[0]


def test_without_cables_there_is_one_rate(cluster, monkeypatch) -> None:
    monkeypatch.setitem(STATUS, "mode", "loopback")
    assert link_rates() == ["as it is"]


def test_a_refusal_is_told(cluster, monkeypatch) -> None:
    status = class_cluster._run("status", "--json")

    def run(*words: str) -> subprocess.CompletedProcess:
        if words[0] == "status":
            return status
        return subprocess.CompletedProcess(words, 1, "", "tc refused")

    monkeypatch.setattr(class_cluster, "_run", run)
    with pytest.raises(SlurmError, match="`workshop link node1 3gbit` failed: tc refused"):
        set_links("3gbit")


# --- a node is lost -------------------------------------------------------------------------------

RUNNING = JobStatus(
    job_id=7,
    name="tiny",
    state="RUNNING",
    reason="",
    elapsed_s=3.0,
    exit_code=0,
    exit_signal=0,
    nodes="node[1-2]",
    restarts=0,
    work_dir=None,
)
QUEUED = dataclasses.replace(RUNNING, state="PENDING", reason="BeginTime", nodes="", restarts=1)


class TellingJob(Job):
    """A job that tells one state after the other, and then the last one."""

    def status(self) -> JobStatus:
        states = self.__dict__["states"]
        return states.pop(0) if len(states) > 1 else states[0]


@pytest.fixture
def training(tmp_path, monkeypatch):
    """Make a job with a run folder; with a checkpoint if a step is given."""
    monkeypatch.setattr(class_cluster, "LOOK_S", 0.01)

    def make(states: list[JobStatus], *, every: int = 8, saved: int | None = 8) -> TellingJob:
        run = tiny()
        train = dataclasses.replace(run.train, checkpoint_every=every)
        run_dir = create_run_dir(dataclasses.replace(run, train=train), tmp_path)
        if saved is not None:
            (run_dir / "checkpoints" / f"step_{saved}").mkdir(parents=True)
        job = TellingJob(7, run_dir)
        job.__dict__["states"] = states
        return job

    return make


def test_the_last_node_loses_its_power_and_gets_it_back(cluster, training) -> None:
    said: list[str] = []
    failed = dataclasses.replace(RUNNING, state="NODE_FAIL")
    assert lose_a_node(training([RUNNING, RUNNING, failed, QUEUED]), say=said.append) == "node2"
    assert [line for line in cluster if line.startswith("node")] == [
        "node off node2",
        "node on node2",
    ]
    assert said[-1].endswith("job 7 is back in the queue (PENDING, BeginTime)")


def test_elsewhere_the_job_is_sent_back_to_the_queue(training, monkeypatch) -> None:
    monkeypatch.delenv("WORKSHOP_INSIDE", raising=False)
    commands: list[list[str]] = []
    monkeypatch.setattr(class_cluster, "run_command", commands.append)
    said: list[str] = []
    assert lose_a_node(training([RUNNING, RUNNING, QUEUED]), say=said.append) == ""
    assert commands == [["scontrol", "requeue", "7"]]
    assert "nobody can pull a plug here" in said[-2]


@pytest.mark.parametrize(
    ("states", "options", "message"),
    [
        ([RUNNING], {"every": 0}, "saves nothing before its end"),
        (
            [RUNNING, dataclasses.replace(RUNNING, state="COMPLETED")],
            {"saved": None},
            "start it with more steps",
        ),
        ([dataclasses.replace(RUNNING, nodes="node1")], {}, "and start it with nodes=2"),
        ([dataclasses.replace(RUNNING, restarts=1)], {}, "has been started again already"),
    ],
)
def test_why_no_node_was_lost(cluster, training, states, options, message) -> None:
    with pytest.raises(NotLost, match=message):
        lose_a_node(training(states, **options), say=lambda text: None)
    assert not any(line.startswith("node") for line in cluster)


def test_a_job_that_does_not_come_back_is_told(cluster, training, monkeypatch) -> None:
    monkeypatch.setattr(class_cluster, "MISSED_LIMIT_S", 0.05)
    with pytest.raises(NotLost, match="job 7 is RUNNING and not back in the queue"):
        lose_a_node(training([RUNNING]), say=lambda text: None)


@pytest.mark.parametrize(
    ("lost", "nodes", "commands"),
    [
        ("node2", 4, ["update JobId=7 ExcNodeList=node2 StartTime=now", "release 7"]),
        ("node2", 2, ["release 7"]),
        ("", 4, ["release 7"]),
    ],
)
def test_it_starts_again_without_the_node_if_there_are_others(
    training, monkeypatch, lost, nodes, commands
) -> None:
    told: list[str] = []
    monkeypatch.setattr(class_cluster, "run_command", lambda argv: told.append(" ".join(argv[1:])))
    names = [SimpleNamespace(node=f"node{number}") for number in range(nodes)]
    monkeypatch.setattr(class_cluster, "list_nodes", lambda: names)
    job = training([QUEUED])
    write_json(job.run_dir / "job.json", {"nodes": 2})
    start_again(job, lost, say=lambda text: None)
    assert told == commands


def test_one_that_has_started_is_left_alone(training, monkeypatch) -> None:
    said: list[str] = []
    start_again(training([RUNNING]), "node2", say=said.append)
    assert said == ["job 7 has started already"]
