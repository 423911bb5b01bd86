"""Start ranks on this machine, for tests, labs and grading: `run_ranks(fn, n)`.

It forks n CPU ranks from this process. A fork shares the imported torch, so two ranks are there in
0.2 s where fresh interpreters take ten; the ranks meet through a file in a private folder, so no
port can clash. It works from a notebook cell, because nothing has to be pickled on the way in. Real
jobs are started by torchrun and come in through join.py. Left out on purpose: GPUs in forked ranks
(CUDA does not survive a fork).
"""

import contextlib
import faulthandler
import importlib
import os
import pickle
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import FileStore  # pyright: ignore[reportPrivateImportUsage]

from course_lib.config import Layout
from course_lib.parallel.eager import keep_compiler_out
from course_lib.parallel.mesh import Mesh, build_mesh
from course_lib.parallel.missing import NOTES_S

GRACE_S = 2.0
"""How long the other ranks may go on after the first failure, to add their own story."""
_LATE = ("torch.fx.experimental.symbolic_shapes", "numpy.random")
"""What backward and batches import at their first use: here once, and not in every rank."""
SHOWN_LINES = 40
"""Lines of each rank's output that an error message shows, from the end."""


class RanksFailed(RuntimeError):
    """One or more ranks of `run_ranks` did not return; the message shows them one by one.

    Attributes:
        errors: one line for every rank that raised an exception, by rank.
        died: how every rank ended that left neither result nor exception.
        stopped: where every rank stood, innermost frame first, that was stopped after the limit.
        values: what the other ranks returned.
    """

    def __init__(
        self,
        message: str,
        errors: dict[int, str],
        died: dict[int, str],
        stopped: dict[int, list[str]],
        values: dict[int, Any],
    ) -> None:
        super().__init__(message)
        self.errors, self.died, self.stopped, self.values = errors, died, stopped, values


def run_ranks(
    fn: Callable[..., Any],
    n: int,
    *args: Any,
    layout: Layout | None = None,
    timeout_s: float = 60.0,
) -> list[Any]:
    """Call `fn(mesh, *args)` on n new CPU ranks at once and return what they returned, by rank.

    Each rank computes with one thread and stands on a mesh of n ranks (gloo). What the ranks print
    is shown when they are done, one rank after the other.

    Args:
        fn: any function, a lambda or one from a notebook cell too; its result must be picklable.
        n: number of ranks.
        args: passed on to every rank.
        layout: how the ranks are arranged; left out, all are data-parallel.
        timeout_s: after this many seconds all ranks are stopped.

    Raises:
        RanksFailed: a rank raised, died or was too slow; the message shows every rank's end.
        RuntimeError: CUDA is already in use in this process.
        ValueError: n is less than 1.
    """
    if n < 1:
        raise ValueError(f"run_ranks was asked for {n} ranks, but it takes at least 1")
    if torch.cuda.is_initialized():
        raise RuntimeError(
            "run_ranks cannot fork: this process already uses CUDA, which does not survive a "
            "fork. Restart the notebook's kernel and call run_ranks before touching the GPU, or "
            "use torchrun"
        )
    for name in _LATE:
        importlib.import_module(name)
    folder = Path(tempfile.mkdtemp(prefix="ranks-"))
    ranks: list[_Child] = []

    def call(mesh: Mesh) -> Any:
        return fn(mesh, *args)

    try:
        sys.stdout.flush()
        sys.stderr.flush()
        for rank in range(n):
            ranks.append(_fork(call, layout or Layout(dp=n), rank, n, folder, timeout_s))
        late = _wait(ranks, timeout_s)
        results = [_read_result(folder, child, child.rank in late) for child in ranks]
        if any(result.error for result in results):
            died = [r for r in results if r.error and not r.raised and not r.stopped]
            raise RanksFailed(
                _describe(results, folder, timeout_s),
                errors={r.rank: r.error for r in results if r.raised},
                died={r.rank: r.error for r in died},
                stopped={r.rank: _frames(_output(folder, r.rank)) for r in results if r.stopped},
                values={r.rank: r.value for r in results if not r.error},
            )
        for rank in range(n):
            for line in _output(folder, rank):
                print(f"rank {rank} | {line}")
        return [result.value for result in results]
    finally:
        # Also on Ctrl-C and on a bug above: no process and no file stays behind.
        for child in ranks:
            child.kill()
        shutil.rmtree(folder)


@dataclass
class _Child:
    rank: int
    pid: int
    status: int | None = None
    """As os.waitpid gives it; None while the rank is running."""

    def poll(self) -> None:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None

    def kill(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            _, self.status = os.waitpid(self.pid, 0)


@dataclass(kw_only=True)
class _Result:
    rank: int
    value: Any = None
    error: str = ""
    """One line; empty if the rank returned."""
    raised: bool = False
    stopped: bool = False
    """By us, at the end of the time."""
    details: str = ""
    """The traceback."""
    time_s: float = float("inf")
    """When it failed, seconds since the epoch."""


def _fork(
    call: Callable[[Mesh], Any], layout: Layout, rank: int, n: int, folder: Path, timeout_s: float
) -> _Child:
    with warnings.catch_warnings(), _sequential_tokenizers():
        # Python 3.12 warns that threads do not survive a fork. They need not: the rank uses one
        # thread, and no lock of another thread is taken between here and os._exit.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return _Child(rank, pid)
    code = 1
    try:
        # If the parent is killed, no one is left to stop this rank; then the alarm does.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, timeout_s + 10)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        code = _child(call, layout, rank, n, folder, timeout_s)
    finally:
        # Not sys.exit: the exit handlers and open files belong to the parent.
        os._exit(code)


@contextlib.contextmanager
def _sequential_tokenizers() -> Iterator[None]:
    """Tell the tokenizers library, which has threads of its own, to do without them in the fork.

    It reads the variable at the fork and whenever it could use a thread. So the parent has it for
    the moment of the fork, and the child for good: without it, a child that encodes a batch waits
    for ever for threads that only the parent has.
    """
    name, parent = "TOKENIZERS_PARALLELISM", os.getpid()
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if os.getpid() == parent:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before


def _child(
    call: Callable[[Mesh], Any], layout: Layout, rank: int, n: int, folder: Path, timeout_s: float
) -> int:
    """Run one rank in the forked process; leave its result in the folder; return its exit code."""
    output = os.open(folder / f"output_{rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    # Below Python too: warnings from C++ go to the file descriptors. A notebook has put its own
    # objects in place of stdout and stderr; here they must be plain files again.
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=False)
    if faulthandler.is_enabled():
        faulthandler.enable(file=2)  # the parent's own file is no place for a rank's crash
    keep_compiler_out()
    try:
        # One thread, as n ranks share the cores. And after a fork OpenMP has no other threads:
        # the first parallel region would wait for them for ever.
        torch.set_num_threads(1)
        store = FileStore(str(folder / "rendezvous"), n)
        # Shorter than our own limit: a rank that waits in vain has time to say for whom.
        own_words_s = min(NOTES_S + 2, timeout_s / 2)
        timeout = timedelta(seconds=timeout_s - own_words_s)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=n, timeout=timeout)
        # A rank that fails at once must not do so while others are still connecting to it: their
        # story would then be about the connection and not about the failure.
        store.set(f"connected {rank}", "")
        store.wait([f"connected {other}" for other in range(n)], timeout)
        value = call(build_mesh(layout, store=store, timeout=timeout))
        dist.destroy_process_group()
        result = _Result(rank=rank, value=value)
        try:
            content = pickle.dumps(result)
        except Exception as error:
            raise TypeError(
                f"rank {rank} returned a {type(value).__name__}, which cannot be sent back: "
                f"return tensors, numbers, strings or lists of them ({error})"
            ) from error
    except BaseException as error:
        result = _Result(
            rank=rank,
            error="".join(traceback.format_exception_only(error)).strip().splitlines()[0],
            raised=True,
            details=_traceback_from(error, _child.__code__.co_filename),
            time_s=time.time(),
        )
        content = pickle.dumps(result)
    (folder / f"result_{rank}").write_bytes(content)
    sys.stdout.flush()
    sys.stderr.flush()
    return 1 if result.error else 0


def _traceback_from(error: BaseException, this_file: str) -> str:
    """Format a traceback without the frames of this file, which tell a learner nothing."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None and tb.tb_frame.f_code.co_filename == this_file:
        tb = tb.tb_next
    return "".join(traceback.format_exception(type(error), error, tb)).rstrip()


def _wait(ranks: list[_Child], timeout_s: float) -> set[int]:
    """Wait for all ranks, with an end; return those that were still running and were stopped."""
    end_s = time.monotonic() + timeout_s
    failed = False
    while True:
        for child in ranks:
            child.poll()
        running = [child for child in ranks if child.status is None]
        if not running or time.monotonic() > end_s:
            break
        if not failed and any(child.status for child in ranks):
            # The others now wait for a message that will not come. Let them notice, not hang.
            failed = True
            end_s = min(end_s, time.monotonic() + GRACE_S)
        time.sleep(0.005)
    for child in running:
        # Not to stop it yet: the rank writes where it stands, even inside a collective.
        os.kill(child.pid, signal.SIGUSR1)
    if running:
        time.sleep(0.2)
    for child in running:
        child.kill()
    return {child.rank for child in running}


def _read_result(folder: Path, child: _Child, stopped: bool) -> _Result:
    path = folder / f"result_{child.rank}"
    if stopped:
        return _Result(rank=child.rank, error="was still running and was stopped", stopped=True)
    status = child.status or 0
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return _Result(rank=child.rank, error=f"was killed by {name}")
    if not path.is_file():
        code = os.waitstatus_to_exitcode(status)
        return _Result(rank=child.rank, error=f"exited with code {code} without a result")
    return pickle.loads(path.read_bytes())


def _output(folder: Path, rank: int) -> list[str]:
    path = folder / f"output_{rank}"
    return path.read_text(errors="replace").splitlines() if path.is_file() else []


def _own_frames(lines: list[str]) -> list[str]:
    """Cut a stopped rank's stack below the learner's function: the rest is how we got there."""
    shown, cutting = [], False
    for line in lines:
        is_frame = line.startswith('  File "')
        cutting = is_frame and (cutting or (__file__ in line and line.endswith(" in _child")))
        if not cutting:
            shown.append(line)
    return shown


def _frames(lines: list[str]) -> list[str]:
    """Return the frames of a stopped rank's stack, which it wrote last."""
    return [line.strip() for line in _own_frames(lines) if line.startswith('  File "')]


def _describe(results: list[_Result], folder: Path, timeout_s: float) -> str:
    failed = [result for result in results if result.error]
    first = min(failed, key=lambda result: result.time_s)
    died = [result for result in failed if not result.raised and not result.stopped]
    if died:
        # Before any exception: "connection closed by peer" is what the others then say of it.
        headline = f"rank {died[0].rank} {died[0].error}"
    elif first.raised:
        headline = f"rank {first.rank} failed first: {first.error}"
    else:
        headline = (
            f"not all ranks were done after {timeout_s:g} s: a rank that waits for a message "
            "no one sends looks like this; so does a slow one (raise timeout_s)"
        )
    lines = [headline]
    for result in results:
        verb = "raised an exception" if result.raised else (result.error or "returned")
        lines += ["", f"--- rank {result.rank} of {len(results)}: {verb}"]
        lines += _own_frames(_output(folder, result.rank))[-SHOWN_LINES:]
        lines += result.details.splitlines()
    return "\n".join(lines)
