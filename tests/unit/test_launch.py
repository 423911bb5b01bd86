"""Forked ranks: results come back in order, every way to fail is told, nothing stays behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch

from course_lib.parallel import comm
from course_lib.parallel.launch import RanksFailed, run_ranks


@pytest.fixture(autouse=True)
def nothing_stays_behind(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ChildProcessError):  # no child left, running or zombie
        os.waitpid(-1, os.WNOHANG)


def sum_of_ranks(mesh, factor):
    tensor = torch.tensor([float(mesh.rank)]) * factor
    return mesh.rank, float(comm.all_reduce(tensor, mesh.dp)), mesh.dp.traffic.num_bytes


@pytest.mark.parametrize("n", [1, 2, 4])
def test_results_by_rank(n: int) -> None:
    total = 2.0 * sum(range(n))
    sent = 2 * 4 * (n - 1) // n
    assert run_ranks(sum_of_ranks, n, 2) == [(rank, total, sent) for rank in range(n)]


def test_lambdas_and_what_is_printed(capsys) -> None:
    assert run_ranks(lambda mesh: print("hello from", mesh.rank), 2) == [None, None]
    assert capsys.readouterr().out == "rank 0 | hello from 0\nrank 1 | hello from 1\n"


def test_after_threads_and_backward_in_the_parent() -> None:
    def gradient(mesh):
        weight = torch.ones(300, 300, requires_grad=True)
        (weight @ weight).sum().backward()
        return weight.grad.sum().item()

    expected = gradient(None)  # starts the thread pools that a fork does not copy
    assert run_ranks(gradient, 2) == [expected, expected]


def test_training_loads_no_compiler() -> None:
    """That would take each rank more than a second."""
    script = """
import sys
from course_lib.grade import compare
from course_lib.parallel.launch import run_ranks

def train(mesh):
    compare.on_mesh(mesh, compare.run_config(global_batch=2, micro_batch=1))
    return "torch._dynamo" in sys.modules

print(run_ranks(train, 2))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[False, False]\n", done.stdout + done.stderr


def test_first_exception_leads_and_every_rank_is_shown() -> None:
    def fail_on_one(mesh):
        print("I am", mesh.rank)
        if mesh.rank == 1:
            raise ValueError("planted\nsecond line")
        comm.barrier(mesh.dp)

    with pytest.raises(RanksFailed) as failure:
        run_ranks(fail_on_one, 2)
    message = str(failure.value)
    assert message.startswith("rank 1 failed first: ValueError: planted\n")
    assert failure.value.errors[1] == "ValueError: planted"
    for expected in ("--- rank 0 of 2", "I am 0", "--- rank 1 of 2", "I am 1", "in fail_on_one"):
        assert expected in message


def test_killed_rank_is_named_before_those_who_miss_it() -> None:
    def die(mesh):
        if mesh.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        comm.barrier(mesh.dp)

    with pytest.raises(RanksFailed, match="^rank 1 was killed by SIGKILL"):
        run_ranks(die, 2)


def test_deadlock_ends_and_shows_where_each_rank_stands() -> None:
    def hang(mesh):
        if mesh.rank == 0:
            comm.barrier(mesh.dp)
        else:
            time.sleep(60)

    with pytest.raises(RanksFailed) as failure:
        run_ranks(hang, 2, timeout_s=1)
    message = str(failure.value)
    assert "barrier on axis dp timed out; did not arrive: rank 1" in message.splitlines()[0]
    assert "in barrier" in message
    assert failure.value.stopped[1][0].endswith("in hang")
    assert message.count("in hang") == 2
    assert "pytest" not in message, "frames below the learner's function are noise"


def test_exit_without_a_result() -> None:
    with pytest.raises(RanksFailed, match="rank 0 exited with code 3 without a result"):
        run_ranks(lambda mesh: os._exit(3), 1)


def test_result_that_cannot_be_sent_back() -> None:
    with pytest.raises(RanksFailed, match="returned a function, which cannot be sent back"):
        run_ranks(lambda mesh: lambda: None, 1)


def test_refusals(monkeypatch) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        run_ranks(sum_of_ranks, 0, 1)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(RuntimeError, match="Restart the notebook's kernel"):
        run_ranks(sum_of_ranks, 2, 1)
