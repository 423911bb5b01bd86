"""How a run ends before its time: asked to stop, or by a failure that leaves a record.

SIGUSR1 means that the job's time is nearly over (the job script asks SLURM to send it), SIGTERM
that somebody cancelled the job or that another rank has failed. Before the first step either ends
the process at once. Later it only raises a flag: the ranks tell each other at the end of every
step, all stop after the same one, and leave a checkpoint. After SIGUSR1 that is no failure: exit
code 0, no record, and the job script puts the job back into the queue.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from course_lib.runlog import write_failure


class Stopped(SystemExit):
    """A signal asked this run to stop; the exit code is 0 if it was the orderly one."""

    def __init__(self, by: int, saved_step: int | None = None) -> None:
        super().__init__(0 if by == signal.SIGUSR1 else 128 + by)
        self.by, self.saved_step = by, saved_step

    def __str__(self) -> str:
        text = "SIGTERM: job cancelled, time over, or another rank failed"
        if self.by == signal.SIGUSR1:
            text = "SIGUSR1: time nearly over"
        if self.saved_step is not None:
            text += f"; step {self.saved_step} is saved, a new start goes on from there"
        return text


class StopRequest:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        self.by = 0
        """The signal that asked, or 0."""
        self.patient = False
        """Whether to wait for the end of the step; before there are steps, a signal raises."""

    def arrive(self, signum: int, frame: object) -> None:
        """Handle a signal; SIGTERM weighs more, whichever comes first."""
        if not self.patient:
            raise Stopped(signum)
        self.by = signum if self.by != signal.SIGTERM else self.by

    def stopped(self, saved_step: int) -> Stopped:
        """Return what to raise when the checkpoint is there."""
        return Stopped(self.by or signal.SIGUSR1, saved_step)


@contextlib.contextmanager
def signals_handled() -> Iterator[StopRequest]:
    """Yield the request that SIGTERM and SIGUSR1 raise from here on."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # Python delivers signals to the main thread only
        return
    signals = (signal.SIGTERM, signal.SIGUSR1)
    before = [signal.signal(signum, request.arrive) for signum in signals]
    try:
        yield request
    finally:
        for signum, handler in zip(signals, before, strict=True):
            signal.signal(signum, handler)


@contextlib.contextmanager
def failures_recorded(run_dir: Path, rank: int) -> Iterator[None]:
    """Leave failed/rank_<R>.json in the run folder if an exception passes by."""
    try:
        yield
    except (Exception, Stopped) as error:
        # Not into a folder that is no run folder: a mistyped path should not be created.
        orderly = isinstance(error, Stopped) and error.by == signal.SIGUSR1
        if run_dir.is_dir() and not orderly:
            write_failure(run_dir, rank, error)
        raise
