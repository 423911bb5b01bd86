"""Which rank failed first: read from outputs that real jobs on the class cluster left."""

import json
import os
import time
from pathlib import Path

import pytest

from course_lib.runlog import write_json
from course_lib.slurm.postmortem import examine, rank_lines

RECORDED = Path(__file__).parent / "recorded"
RAISED = (RECORDED / "output_rank_1_raised.txt").read_text()
KILLED = (RECORDED / "output_rank_1_killed.txt").read_text()
CLOSED = "RuntimeError: gloo/transport/tcp/pair.cc:553] Connection closed by peer [10.77.0.12]:8588"


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    """The recorded clocks are UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    os.environ.pop("TZ")
    time.tzset()


def report(run_dir: Path, rank: int, time_s: float, error: str, host: str = "node1") -> None:
    (run_dir / "failed").mkdir(exist_ok=True)
    record = {"rank": rank, "host": host, "time_s": time_s, "error": error}
    record["traceback"] = f"Traceback (most recent call last):\n  File x\n{error}\n"
    write_json(run_dir / "failed" / f"rank_{rank}.json", record)


def test_a_raising_rank_is_the_cause_though_others_reported_earlier(tmp_path):
    report(tmp_path, 0, 100.0, CLOSED)
    report(tmp_path, 1, 100.5, "RuntimeError: loss is nan at step 3", host="node2")
    found = examine(tmp_path, RAISED)
    assert found.first is not None
    assert (found.first.rank, found.first.host) == (1, "node2")
    assert found.others == (0,)
    text = found.text()
    assert text.startswith("rank 1 on node2 failed first: RuntimeError: loss is nan at step 3")
    assert "rank 0 failed after it, as a consequence" in text


def test_the_earliest_of_two_causes_wins(tmp_path):
    report(tmp_path, 3, 101.0, "ValueError: late")
    report(tmp_path, 2, 100.0, "ValueError: early")
    found = examine(tmp_path, "")
    assert found.first is not None and found.first.rank == 2


def test_a_killed_rank_leaves_only_torchrun_s_words(tmp_path):
    # Rank 0 wrote a report, rank 1 could not: it was killed by a signal.
    report(tmp_path, 0, 1795404030.69, CLOSED)
    found = examine(tmp_path, KILLED)
    assert found.first is not None
    assert (found.first.rank, found.first.host) == (1, "node2")
    assert "killed by signal 9 (SIGKILL)" in found.first.error
    assert found.others == (0,)
    assert found.first.time_s == pytest.approx(1795404030)


def test_the_run_s_own_names_of_nodes_are_preferred(tmp_path):
    # In loopback mode all nodes are one machine, which torchrun calls localhost.
    (tmp_path / "run_info.json").write_text(json.dumps({"hosts": ["node3", "node4"]}))
    found = examine(tmp_path, KILLED.replace(": node2", ": localhost"))
    assert found.first is not None and found.first.host == "node4"


def test_without_reports_the_rank_s_own_lines_are_shown(tmp_path):
    found = examine(tmp_path, RAISED)
    assert found.first is not None
    assert (found.first.rank, found.first.error) == (1, "exit code 1")
    assert "RuntimeError: loss is nan at step 3" in found.first.last_lines


def test_only_consequences_means_that_the_cause_left_no_trace(tmp_path):
    report(tmp_path, 0, 100.0, CLOSED)
    text = examine(tmp_path, "").text()
    assert "no rank failed by itself" in text
    assert "rank 0 on node1: RuntimeError" in text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("slurmstepd: error: *** JOB 7 ON node1 CANCELLED AT X DUE TO TIME LIMIT ***", "--time"),
        (
            "slurmstepd: error: Job 7 exceeded memory limit (434778112 > 104857600), being killed",
            "more memory than it reserved",
        ),
    ],
)
def test_what_slurm_did_itself_is_told_first(tmp_path, line, words):
    report(tmp_path, 0, 100.0, "Stopped: SIGTERM: job cancelled, time over, or another rank failed")
    assert words in examine(tmp_path, line).text().splitlines()[0]


@pytest.mark.parametrize(
    "reason", ["NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***", "JOB REQUEUE ***"]
)
def test_of_a_requeued_job_only_the_last_start_counts(tmp_path, reason):
    cut = "slurmstepd: error: *** JOB 7 ON node1 CANCELLED AT 2026-11-23T03:20:31 DUE TO "
    output = f"{KILLED}{cut}{reason}\n[rank 0] second start\n"
    found = examine(tmp_path, output)
    assert found.first is None
    assert found.output == ("[rank 0] second start",)


def test_the_words_of_a_rank_that_torchrun_has_replaced_are_not_its_successor_s(tmp_path):
    first = f"[rank 0] rank 0 on node1 (cpu)\n[rank 1] [rank1]: {CLOSED}\n"
    second = "[rank 0] going on from step 40\n[rank 0] rank 0 on node1 (cpu)\n"
    found = examine(tmp_path, first + second + KILLED[KILLED.index("Root Cause") :])
    assert found.first is not None
    assert (found.first.rank, found.first.consequence) == (1, False)
    assert found.first.last_lines == ()


def test_no_trace_at_all_shows_the_end_of_the_output(tmp_path):
    assert "module: command not found" in examine(tmp_path, "module: command not found\n").text()
    assert "(it is empty)" in examine(tmp_path, "").text()


def test_lines_of_a_rank_lose_their_prefixes():
    output = "[rank 1] one\n[rank 11] two\n[rank 1] [rank1]: three\n"
    assert rank_lines(output, 1) == ["one", "three"]
