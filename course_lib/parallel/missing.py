"""Say for whom a collective waited in vain.

When one rank hangs, all others stop inside their next collective and end with a bare "timed out".
To find the rank that is to blame they need to talk once more, over another road: each rank whose
wait timed out leaves a note in the store through which the ranks met, and reads the notes of the
others. Who left none did not arrive; who waits in another operation has taken another path. In
normal operation nothing is written, so it costs nothing.
"""

import json
import time
from datetime import timedelta

from course_lib.parallel.mesh import Axis

NOTES_S = 3.0
"""How long to wait for the notes of the others: their limits end at nearly the same time. At most
half of what a message may take, so that short limits stay short."""


class CollectiveTimeout(RuntimeError):
    """A collective did not end in time; the message names axis, operation, step and the missing.

    Attributes:
        operation: what this rank waited in, and along which axis.
    """

    def __init__(self, message: str, operation: str) -> None:
        super().__init__(message, operation)
        self.message, self.operation = message, operation

    def __str__(self) -> str:
        return self.message


def timed_out(error: Exception) -> bool:
    """Tell whether an error of the backend says that it waited in vain."""
    words = str(error).lower()
    return "timed out" in words or "timeout" in words


def explain(axis: Axis, operation: str, error: Exception) -> CollectiveTimeout:
    """Return the error that says who of the axis did not arrive at an operation that timed out."""
    place = f"{operation} on axis {axis.name}"
    where = f"step {axis.progress.step}: {place} timed out"
    others = [rank for rank in axis.ranks if rank != axis.ranks[axis.rank]]
    notes = _exchange_notes(axis, operation, others)
    if notes is None:
        return CollectiveTimeout(f"{where} ({_first_line(error)})", place)
    absent = [rank for rank in others if rank not in notes]
    here = {"axis": axis.name, "operation": operation, "step": axis.progress.step}
    elsewhere = [
        f"rank {rank} waits in {note['operation']} on axis {note['axis']} of step {note['step']}"
        for rank, note in notes.items()
        if note != here
    ]
    parts = []
    if absent:
        some = "rank" if len(absent) == 1 else "ranks"
        parts.append(f"did not arrive: {some} {', '.join(map(str, absent))} of {list(axis.ranks)}")
    parts += elsewhere
    if not parts:
        parts.append("all ranks arrived, so the network between them is too slow or cut")
    return CollectiveTimeout(f"{where}; {'; '.join(parts)}", place)


def _exchange_notes(axis: Axis, operation: str, others: list[int]) -> dict[int, dict] | None:
    """Leave this rank's note and return those of the others by rank; None without a store."""
    store, me = axis.progress.store, axis.ranks[axis.rank]
    if store is None:
        return None
    note = {"axis": axis.name, "operation": operation, "step": axis.progress.step}
    limit = axis.progress.timeout
    notes_s = NOTES_S if limit is None else min(NOTES_S, limit.total_seconds() / 2)
    try:
        store.set_timeout(timedelta(seconds=notes_s))
        if not axis.progress.reported:
            axis.progress.reported = True
            store.set(f"stuck/{me}", json.dumps(note))
        end_s = time.monotonic() + notes_s
        missing = list(others)
        while missing and time.monotonic() < end_s:
            missing = [rank for rank in missing if not store.check([f"stuck/{rank}"])]
            time.sleep(0.05)
        there = [rank for rank in others if rank not in missing]
        return {rank: json.loads(store.get(f"stuck/{rank}")) for rank in there}
    except RuntimeError:  # the store's own host is the one that has gone
        return None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
