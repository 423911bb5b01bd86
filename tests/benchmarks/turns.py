"""Two training runs that take turns on this machine, a few seconds each, to compare their steps.

The speed of a shared machine changes by a fifth from one ten seconds to the next, which is more
than most bottlenecks cost. So neither run is done before the other begins: one is stopped
(SIGSTOP) while the other trains. A step in which its run stood still is left out.
"""

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

from course_lib.runlog import read_metrics

TURN_S = 3.0
"""Longer than a step takes, so that one with a pause in it can be told from all others."""
WARM_UP = 4
"""Steps at the beginning that are slow for other reasons."""
LIMIT_S = 600.0


def in_turns(runs: Mapping[str, tuple[Path, Callable[[], object]]]) -> dict[str, list[float]]:
    """Return by name the seconds of each step that ran without a pause, checkpoint included.

    Ends when the first run does.

    Args:
        runs: by name, the run folder, and what trains in it.

    Raises:
        TimeoutError: no run came to its end.
        RuntimeError: a run failed.
    """
    end_s = time.monotonic() + LIMIT_S
    with contextlib.ExitStack() as stack:
        groups = {name: stack.enter_context(_started(train)) for name, (_, train) in runs.items()}
        for name, group in groups.items():
            for other in groups.values():
                _signal(other, signal.SIGCONT if other is group else signal.SIGSTOP)
            while len(_times(runs[name][0])) <= WARM_UP and group.is_alive():
                _wait(0.1, end_s)
        for group in itertools.cycle(groups.values()):
            if not all(group.is_alive() for group in groups.values()):
                break
            _signal(group, signal.SIGCONT)
            _wait(TURN_S, end_s)
            _signal(group, signal.SIGSTOP)
        failed = [name for name, group in groups.items() if group.exitcode]
        if failed:
            raise RuntimeError(f"the run {failed[0]!r} failed: look into {runs[failed[0]][0]}")
    steps_s = {}
    for name, (run_dir, _) in runs.items():
        all_s = [after - before for before, after in itertools.pairwise(_times(run_dir))]
        steps_s[name] = [s for s in all_s[WARM_UP:] if s < TURN_S]
    return steps_s


def _times(run_dir: Path) -> list[float]:
    return [record["at_s"] for record in read_metrics(run_dir) if "loss" in record]


@contextlib.contextmanager
def _started(train: Callable[[], object]) -> Iterator[BaseProcess]:
    """Call the function in a process with a group of its own, which does not outlive the block."""

    def work() -> None:
        os.setpgid(0, 0)
        with open(os.devnull, "w") as sys.stdout:
            train()

    group = multiprocessing.get_context("fork").Process(target=work)
    group.start()
    with contextlib.suppress(OSError):
        os.setpgid(group.pid or 0, group.pid or 0)  # whoever of the two comes first
    try:
        yield group
    finally:
        _signal(group, signal.SIGKILL)
        group.join()


def _signal(group: BaseProcess, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group.pid or 0, number)


def _wait(seconds: float, end_s: float) -> None:
    if time.monotonic() > end_s:
        raise TimeoutError(f"neither run ended within {LIMIT_S:.0f} s")
    time.sleep(seconds)
