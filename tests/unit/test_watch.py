"""Following a job: to its end, through a requeue, out of a silent controller, and on a terminal.

No SLURM here: a job whose states are a list that the test wrote. No test waits for real.
"""

import dataclasses
import io
import json

import pytest
from rich.console import Console

from course_lib import runlog
from course_lib.presets import tiny
from course_lib.slurm import watch
from course_lib.slurm.client import Job, JobStatus, SlurmError
from course_lib.slurm.watch import end_report, follow, queue_line, state_line, watch_job

WAITING = JobStatus(
    job_id=7,
    name="tiny",
    state="PENDING",
    reason="Resources",
    elapsed_s=0,
    exit_code=0,
    exit_signal=0,
    nodes="",
    restarts=0,
    work_dir=None,
)
RUNNING = dataclasses.replace(WAITING, state="RUNNING", reason="", nodes="node[1-2]")
DONE = dataclasses.replace(RUNNING, state="COMPLETED", elapsed_s=61)
FAILED = dataclasses.replace(RUNNING, state="FAILED", exit_code=1, elapsed_s=61)
NODE_FAIL = dataclasses.replace(RUNNING, state="NODE_FAIL")
REQUEUED = dataclasses.replace(WAITING, reason="BeginTime", restarts=1)


class ListedJob(Job):
    """A job that goes through the states of a list and stays in the last one."""

    states: list[JobStatus | BaseException]

    def __init__(self, run_dir, states):
        super().__init__(7, run_dir)
        object.__setattr__(self, "states", list(states))  # a Job is frozen

    def status(self):
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, BaseException):
            raise state
        return state


@pytest.fixture
def run_dir(tmp_path):
    return runlog.create_run_dir(tiny(), tmp_path)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Let the clock run as fast as the tests ask, one second for each sleep."""
    now = [0.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(watch.time, "sleep", lambda s: now.__setitem__(0, now[0] + s))


def write_metrics(run_dir, steps):
    lines = [{"step": n, "loss": 6.0 - n / 10, "tokens_per_s": 1000.0 * n} for n in steps]
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def states_of(job, **words):
    return [snapshot.status.state for snapshot in follow(job, **words)]


def shown(job, *, terminal: bool) -> tuple[int, str]:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)
    code = watch_job(job, console=console)
    return code, console.file.getvalue()  # type: ignore[attr-defined]


def test_it_follows_to_the_end(run_dir):
    write_metrics(run_dir, range(1, 13))
    snapshots = list(follow(ListedJob(run_dir, [WAITING, RUNNING, RUNNING, DONE])))
    assert [each.status.state for each in snapshots] == [
        "PENDING",
        "RUNNING",
        "RUNNING",
        "COMPLETED",
    ]
    last = snapshots[-1]
    assert (last.step, last.steps, last.loss) == (12, 20, pytest.approx(4.8))
    # the mean of the latest ten, not of all
    assert last.tokens_per_s == pytest.approx(7500)


def test_a_lost_node_is_not_the_end(run_dir):
    job = ListedJob(run_dir, [RUNNING, NODE_FAIL, REQUEUED, RUNNING, DONE])
    assert states_of(job) == ["RUNNING", "NODE_FAIL", "PENDING", "RUNNING", "COMPLETED"]


def test_a_lost_node_is_the_end_when_nothing_follows(run_dir):
    assert set(states_of(ListedJob(run_dir, [RUNNING, NODE_FAIL]))) == {"RUNNING", "NODE_FAIL"}


def test_a_controller_may_be_away_for_a_moment(run_dir):
    away = SlurmError("away")
    assert states_of(ListedJob(run_dir, [RUNNING, away, away, DONE])) == ["RUNNING", "COMPLETED"]


def test_a_controller_that_stays_away_is_reported(run_dir):
    with pytest.raises(SlurmError, match="away"):
        states_of(ListedJob(run_dir, [RUNNING, SlurmError("away")]))


def test_every_wait_has_a_limit(run_dir):
    with pytest.raises(TimeoutError, match="still RUNNING after 30 s.*workshop watch 7"):
        states_of(ListedJob(run_dir, [RUNNING]), limit_s=30)


def test_what_will_never_start_is_said(run_dir):
    stuck = dataclasses.replace(WAITING, reason="PartitionConfig")
    assert "will not start by itself: cancel it with scancel 7" in queue_line(stuck)
    assert "scancel" not in queue_line(WAITING)


def test_a_second_start_is_counted():
    assert queue_line(dataclasses.replace(RUNNING, restarts=1)).endswith("start number 2")
    assert queue_line(REQUEUED).startswith("waiting for start number 2: its time to begin has not")
    # the first start is still ending, though SLURM counts the next one already
    ending = dataclasses.replace(RUNNING, state="COMPLETING", restarts=1)
    assert queue_line(ending) == "ending on node[1-2]"


def test_a_requeued_job_says_from_where_it_will_go_on(run_dir):
    (snapshot, *_) = follow(ListedJob(run_dir, [REQUEUED, DONE]))
    assert state_line(snapshot).endswith("It will begin anew")
    for step in (5, 40):
        (run_dir / "checkpoints" / f"step_{step}").mkdir(parents=True)
    (snapshot, *_) = follow(ListedJob(run_dir, [REQUEUED, DONE]))
    assert state_line(snapshot).endswith("It will go on from step 40")


def test_restarts_of_torchrun_are_told_from_those_of_slurm(run_dir):
    for attempt in ("1", "2"):
        (run_dir / "earlier_attempts" / attempt).mkdir(parents=True)
    (snapshot, *_) = follow(ListedJob(run_dir, [RUNNING, DONE]))
    assert "torchrun has started the ranks again (2 so far)" in state_line(snapshot)
    requeued = dataclasses.replace(RUNNING, restarts=2)
    (snapshot, *_) = follow(ListedJob(run_dir, [requeued, DONE]))
    assert "torchrun" not in state_line(snapshot)


@pytest.mark.parametrize("terminal", [False, True])
def test_the_step_may_go_back(run_dir, terminal):
    def states():
        write_metrics(run_dir, range(1, 13))
        yield RUNNING
        yield REQUEUED
        write_metrics(run_dir, range(1, 9))
        yield dataclasses.replace(RUNNING, restarts=1)
        write_metrics(run_dir, range(1, 21))
        while True:
            yield dataclasses.replace(DONE, restarts=1)

    class WrittenJob(Job):
        at = states()

        def status(self):
            return next(self.at)

    code, text = shown(WrittenJob(7, run_dir), terminal=terminal)
    assert code == 0
    assert "waiting for start number 2" in text
    assert "running on node[1-2], start number 2" in text
    if terminal:  # here no time passes, so a bar is drawn at the end only
        assert "20/20" in text
    else:
        assert "step 12/20" in text
        assert "step 8/20" in text


def test_a_job_that_hangs_after_a_failure_is_pointed_out(run_dir):
    runlog.write_failure(run_dir, 0, RuntimeError("Connection closed by peer"))
    hanging = dataclasses.replace(RUNNING, elapsed_s=30)
    (snapshot, *_) = follow(ListedJob(run_dir, [hanging, FAILED]))
    assert "Ranks have failed (1 so far)" in state_line(snapshot)
    assert "scancel 7" in state_line(snapshot)
    # while it waits to be started again, an old failure is no news
    (snapshot, *_) = follow(ListedJob(run_dir, [REQUEUED, FAILED]))
    assert "failed" not in state_line(snapshot)


def test_the_failure_of_an_earlier_start_is_no_news(run_dir):
    runlog.write_failure(run_dir, 0, RuntimeError("Connection closed by peer"))
    path = run_dir / "failed" / "rank_0.json"
    long_ago = {**json.loads(path.read_text()), "time_s": 1000.0}
    runlog.write_json(path, long_ago)
    (snapshot, *_) = follow(ListedJob(run_dir, [dataclasses.replace(RUNNING, restarts=1), DONE]))
    assert "have failed" not in state_line(snapshot)


@pytest.mark.parametrize("terminal", [False, True])
def test_success_is_exit_code_0_and_names_the_result(run_dir, terminal):
    result = {"val_loss_first": 6.2, "val_loss_last": 5.6, "tokens_per_s": 1234.5}
    runlog.write_json(run_dir / "result.json", result)
    write_metrics(run_dir, [1, 2])
    code, text = shown(ListedJob(run_dir, [WAITING, RUNNING, DONE]), terminal=terminal)
    assert code == 0
    assert "waiting: the nodes are busy" in text
    assert "job 7 completed after 00:01:01" in text
    assert "held-out loss 6.200 -> 5.600 nats, 1,234 tokens/s" in text
    assert "loss 5.8" in text


@pytest.mark.parametrize("terminal", [False, True])
def test_failure_names_the_rank(run_dir, terminal):
    runlog.write_failure(run_dir, 1, RuntimeError("boom"))
    (run_dir / "slurm-7.out").write_text("[rank 0] rank 0 on node1\n")
    write_metrics(run_dir, [1, 2, 3])
    code, text = shown(ListedJob(run_dir, [RUNNING, FAILED]), terminal=terminal)
    assert code == 1
    assert "failed first: RuntimeError: boom" in text
    assert "it had done 3 of 20 steps; none is saved" in text
    assert f"run folder: {run_dir}" in text


@pytest.mark.parametrize("state", ["TIMEOUT", "CANCELLED", "OUT_OF_MEMORY", "BOOT_FAIL"])
def test_every_other_end_is_a_failure(run_dir, state):
    end = dataclasses.replace(FAILED, state=state)
    code, text = shown(ListedJob(run_dir, [end]), terminal=False)
    assert code == 1
    assert text.startswith("job 7 ")


def test_ctrl_c_leaves_the_job_alone(run_dir):
    job = ListedJob(run_dir, [RUNNING, KeyboardInterrupt()])
    code, text = shown(job, terminal=False)
    assert code == 130
    assert "job 7 goes on. Come back with: workshop watch 7" in text


def test_completed_without_a_result_is_doubted(run_dir):
    assert "no result.json" in end_report(Job(7, run_dir), DONE)
