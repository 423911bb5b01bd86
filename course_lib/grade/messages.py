"""Which messages a function sends, and in which order: from comm.py's own names, not from clocks.

Every message and every wait of comm.py is a named region (profile/regions.py). While torch's
profiler records, they are kept in the order in which they began.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

from torch.autograd import profiler

KINDS = ("comm/", "wait/", "check/")


@contextlib.contextmanager
def recorded() -> Iterator[list[str]]:
    """Yield a list that holds, after the block, the names of messages and waits in their order.

    For forked ranks: starting and stopping the profiler prints notes that no learner should read,
    so the output is closed for these two moments.
    """
    names: list[str] = []
    recording = profiler.profile(use_kineto=False)
    with _quiet():
        recording.__enter__()
    try:
        yield names
    finally:
        with _quiet():
            recording.__exit__(None, None, None)
        events = recording.function_events or []
        began = sorted((event.time_range.start, event.name) for event in events)
        names += [name for _, name in began if name.startswith(KINDS)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    sys.stdout.flush()
    sys.stderr.flush()
    kept, nowhere = (os.dup(1), os.dup(2)), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        for descriptor in (*kept, nowhere):
            os.close(descriptor)
