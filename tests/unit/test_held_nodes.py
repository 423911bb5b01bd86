"""Nodes held for measurements: questions are answered in their order, and nobody waits for ever."""

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from course_lib import held_nodes
from course_lib.config import RunConfig
from course_lib.held_nodes import HeldNodes, MessageTimes
from course_lib.parallel import comm
from course_lib.parallel.launch import run_ranks
from course_lib.parallel.mesh import first_ranks
from course_lib.presets import tiny
from course_lib.runlog import write_json, write_new_json
from course_lib.slurm.client import Job, JobStatus, SlurmError
from course_lib.slurm.site import load_site
from course_lib.train.held_nodes import ANSWERS, REQUESTS, serve, time_step


def question(**changes) -> dict:
    run = json.loads(tiny().to_json())
    return {"what": "step", "ranks": 2, "run": run, "sums": True, "steps": 1} | changes


def answered(folder: Path, questions: list[dict], n: int = 4, idle_s: float = 30.0) -> list:
    for name in (REQUESTS, ANSWERS):
        (folder / name).mkdir(exist_ok=True)
    for number, each in enumerate(questions):
        write_json(folder / REQUESTS / f"{number}.json", each)
    counts = run_ranks(lambda mesh: serve(mesh, folder, idle_s=idle_s), n, timeout_s=120)
    assert len(set(counts)) == 1
    paths = [folder / ANSWERS / f"{number}.json" for number in range(counts[0])]
    return [json.loads(path.read_text()) for path in paths]


def test_questions_are_answered_in_their_order(tmp_path) -> None:
    answers = answered(
        tmp_path,
        [
            question(ranks=1),
            question(ranks=4, sums=False),
            {"what": "all_reduce", "ranks": 2, "max_mib": 0.01},
            question(ranks=5),
            {"what": "all_reduce", "ranks": 1, "max_mib": 1.0},
            question(ranks=2),
            {"what": "end"},
        ],
    )
    assert all(answers[number]["step_s"] > 0 for number in (0, 1, 5))
    assert answers[2]["bytes_sent"] == [64, 256, 1024, 4096]
    assert len(answers[2]["time_s"]) == 4 and min(answers[2]["time_s"]) > 0
    assert "5 ranks, but there are 1 to 4" in answers[3]["error"]
    assert "one rank has nobody to send to" in answers[4]["error"]


def test_a_run_that_does_not_fit_is_refused_and_the_next_one_answered(tmp_path) -> None:
    run = json.loads(tiny().to_json())
    run["train"]["global_batch"] = 6
    first, second = answered(
        tmp_path, [question(ranks=4, run=run), question(ranks=4), {"what": "end"}]
    )
    assert "global_batch" in first["error"]
    assert second["step_s"] > 0


def test_after_a_while_without_questions_it_ends_and_takes_no_more(tmp_path) -> None:
    assert answered(tmp_path, [question()], n=2, idle_s=0.2)[0]["step_s"] > 0
    assert json.loads((tmp_path / REQUESTS / "1.json").read_text())["what"] == "end"
    assert not write_new_json(tmp_path / REQUESTS / "1.json", question())


def test_started_again_it_goes_on_with_what_was_not_answered(tmp_path) -> None:
    for name in (REQUESTS, ANSWERS):
        (tmp_path / name).mkdir()
    write_json(tmp_path / ANSWERS / "0.json", {"step_s": 7.0})
    answers = answered(tmp_path, [question(), question(ranks=1), {"what": "end"}], n=2)
    assert answers[0] == {"step_s": 7.0}
    assert answers[1]["step_s"] > 0


def test_the_first_ranks_sum_among_themselves() -> None:
    def sums(mesh) -> list:
        formed = {}
        found = []
        for n in (3, 1, 4, 3):
            part = first_ranks(mesh, n, formed)
            if part is None:
                found.append(None)
                continue
            assert (part.world_size, part.dp.size, part.dp.rank) == (n, n, mesh.rank)
            found.append(float(comm.all_reduce(torch.ones(1) + mesh.rank, part.dp)))
        return found

    assert run_ranks(sums, 4) == [
        [6.0, 1.0, 10.0, 6.0],
        [6.0, None, 10.0, 6.0],
        [6.0, None, 10.0, 6.0],
        [None, None, 10.0, None],
    ]


def test_without_sums_no_gradient_is_sent() -> None:
    def sent(mesh) -> list[int]:
        run = tiny()
        counts = []
        for sums in (True, False):
            before = mesh.dp.traffic.num_bytes
            time_step(mesh, run, sums=sums, steps=1)
            counts.append(mesh.dp.traffic.num_bytes - before)
        return counts

    with_sums, without = run_ranks(sent, 2)[0]
    assert with_sums > 2 * 4 * 10_000 and without == 0


# --- the other side -------------------------------------------------------------------------------

RUNNING = JobStatus(
    job_id=7,
    name="held",
    state="RUNNING",
    reason="",
    elapsed_s=3.0,
    exit_code=0,
    exit_signal=0,
    nodes="node[1-2]",
    restarts=0,
    work_dir=None,
)


@dataclasses.dataclass(frozen=True)
class FakeJob(Job):
    """A job whose state is a file."""

    def status(self) -> JobStatus:
        state = (self.run_dir / "state").read_text()
        return dataclasses.replace(RUNNING, job_id=self.job_id, state=state)


@pytest.fixture
def jobs(tmp_path, monkeypatch) -> Iterator[list[FakeJob]]:
    """The jobs that are sent; a thread answers each of them."""
    sent: list[FakeJob] = []

    def send(submission) -> FakeJob:
        folder = tmp_path / f"job{len(sent)}"
        (folder / ANSWERS).mkdir(parents=True)
        (folder / "state").write_text("RUNNING")
        job = FakeJob(7 + len(sent), folder)
        sent.append(job)
        threading.Thread(target=answer_all, args=(job,), daemon=True).start()
        return job

    monkeypatch.setattr(held_nodes, "submit", send)
    monkeypatch.setattr(held_nodes, "load_site", lambda: load_site("class"))
    monkeypatch.setattr(held_nodes, "inside", lambda: False)
    monkeypatch.setattr(held_nodes, "own_user", lambda: "ada")
    commands = []
    monkeypatch.setattr(held_nodes, "run_command", commands.append)
    yield sent
    assert commands == [["scancel", "--name=held", "--user=ada"]] * len(sent)


def answer_all(job: FakeJob) -> None:
    number = 0
    while True:
        path = job.run_dir / REQUESTS / f"{number}.json"
        while not path.is_file():
            time.sleep(0.01)
        asked = json.loads(path.read_text())
        if asked["what"] == "end":
            return
        answer = {"bytes_sent": [64], "time_s": [0.001]}
        if asked["what"] == "step":
            RunConfig.from_json(json.dumps(asked["run"]))
            answer = {"step_s": float(asked["ranks"])}
        if asked["ranks"] > 2:
            answer = {"error": "too many ranks"}
        write_json(job.run_dir / ANSWERS / f"{number}.json", answer)
        number += 1


def test_a_question_is_put_and_its_answer_read(jobs) -> None:
    said: list[str] = []
    held = HeldNodes(2, 1, said.append)
    assert held.step_s(tiny(), ranks=2) == 2.0
    assert held.all_reduce(ranks=2) == MessageTimes(2, (64,), (0.001,))
    with pytest.raises(ValueError, match="too many ranks"):
        held.step_s(tiny(), ranks=3)
    held.give_back()
    assert said[0] == "job 7 will hold 2 nodes for you"
    assert said[-1] == "job 7 ends, its nodes are free"


def test_a_job_that_has_ended_is_sent_again(jobs) -> None:
    said: list[str] = []
    held = HeldNodes(2, 1, said.append)
    held.step_s(tiny(), ranks=1)
    (jobs[0].run_dir / "state").write_text("COMPLETED")
    assert held.step_s(tiny(), ranks=2) == 2.0
    assert held.job_id == 8
    assert "job 7 has ended and given its nodes back" in said


def test_a_question_to_one_that_has_just_closed_goes_to_the_next(jobs) -> None:
    held = HeldNodes(2, 1, lambda text: None)
    held.step_s(tiny(), ranks=1)
    write_new_json(jobs[0].run_dir / REQUESTS / "1.json", {"what": "end", "why": "idle"})
    assert held.step_s(tiny(), ranks=2) == 2.0
    assert held.job_id == 8


def test_a_job_that_fails_is_told_and_not_waited_for(jobs, monkeypatch) -> None:
    monkeypatch.setattr(held_nodes, "end_report", lambda job, status: "job 7 failed: no memory")
    held = HeldNodes(2, 1, lambda text: None)
    (jobs[0].run_dir / "state").write_text("FAILED")
    (jobs[0].run_dir / REQUESTS / "0.json").write_text('{"what": "end"}')  # nobody answers
    held._number = 0
    monkeypatch.setattr(held, "_place", lambda asked: True)
    with pytest.raises(SlurmError, match="no memory"):
        held.step_s(tiny(), ranks=1)
