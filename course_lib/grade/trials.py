"""Try a learner's function on real ranks and tell what became of it, in the learner's terms.

What the learner's function does, it does in forked ranks: an endless loop, a deadlock or a call of
exit ends there, at a limit, and the message says which rank stands where. The notebook's kernel
stays as it was.
"""

import contextlib
import io
import linecache
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from course_lib.config import Layout
from course_lib.grade.checks import CheckFailed
from course_lib.grade.whose import whose
from course_lib.parallel.launch import RanksFailed, run_ranks
from course_lib.parallel.mesh import Mesh
from course_lib.parallel.missing import CollectiveTimeout

LIMIT_S = 4.0
"""How long a learner's function may take, so that the answer is there within 5 s. Up to three times
as long on a machine that is busy with other things: there right answers take longer too."""
HIDDEN_LIMIT_S = 30.0
"""Graders may share the machine with others and do not wait for an answer."""
LINGER_S = 1.0
SHOWN_LINES, SHOWN_COLUMNS = 60, 200
"""Of what a learner's function prints."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is to be tried: `probe(mesh, **arguments)` on n ranks."""

    probe: Callable[..., Any]
    n: int
    layout: Layout | None
    limit_s: float
    arguments: dict[str, Any]


@dataclass
class Ending:
    """How a rank ended."""

    value: Any = None
    told: str = ""
    """What the check itself found on this rank."""
    error: str = ""
    waits: str = ""
    """The operation in which it waited in vain."""
    line: str = ""
    """The learner's own line where that happened."""
    at_s: float = 0.0

    @property
    def returned(self) -> bool:
        return not (self.told or self.error or self.waits)


@dataclass
class Outcome:
    """How a trial went, by rank; each rank is in one of the three."""

    told: dict[int, Ending]
    stopped: dict[int, list[str]]
    """Where a rank stood, innermost frame first, that was stopped at the limit."""
    died: dict[int, str]
    output: str = ""


class Elsewhere(Protocol):
    """A learner's function in another process: it is tried there, and judged here."""

    def try_on_ranks(self, trial: Trial) -> Outcome:
        """Do the trial with the function in place of this object."""
        ...


def on_ranks(
    probe: Callable[..., Any],
    n: int,
    *,
    function: Callable[..., Any] | Elsewhere | None = None,
    layout: Layout | None = None,
    limit_s: float | None = None,
    **arguments: Any,
) -> list[Any]:
    """Return what `probe(mesh, **arguments)` returns on each of n ranks; print what they print.

    Args:
        probe: calls the learner's function and returns what is to be judged.
        n: number of ranks.
        function: the learner's, one more of the probe's arguments; left out, it has none.
        layout: how the ranks are arranged; left out, all are data-parallel.
        limit_s: seconds; left out, LIMIT_S, or more on a busy machine.
        arguments: the probe's others.

    Raises:
        CheckFailed: a rank raised, ended, or did not return in time; the message says where in the
            learner's own lines.
    """
    limit_s = limit_s or (HIDDEN_LIMIT_S if whose().graded else _limit_now_s())
    trial = Trial(probe=probe, n=n, layout=layout, limit_s=limit_s, arguments=arguments)
    elsewhere = getattr(function, "try_on_ranks", None)
    outcome = elsewhere(trial) if elsewhere else run_trial(trial, function)
    _show(outcome.output)
    if outcome.died:
        rank, how = min(outcome.died.items())
        why = _UNEQUAL if "SIGABRT" in how or "SIGSEGV" in how else _LEFT
        raise CheckFailed(f"rank {rank} of {n} {how}. {why}") from None
    _raise_worst(outcome.told, outcome.stopped, n, limit_s)
    return [outcome.told[rank].value for rank in range(n)]


def patience_s(hidden: bool, limit_s: float | None) -> float | None:
    """Return a check's `limit_s` for `on_ranks`: who tries hidden cases does not wait for it."""
    return limit_s or (HIDDEN_LIMIT_S if hidden else None)


def run_trial(trial: Trial, function: object) -> Outcome:
    """Do a trial in ranks that are forked from this process."""
    arguments = trial.arguments | ({} if function is None else {"function": function})

    def call(mesh: Mesh) -> Ending:
        return _attempt(lambda mesh: trial.probe(mesh, **arguments), mesh)

    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            endings = run_ranks(call, trial.n, layout=trial.layout, timeout_s=trial.limit_s)
        outcome = Outcome(told=dict(enumerate(endings)), stopped={}, died={})
    except RanksFailed as failure:
        outcome = Outcome(told=failure.values, stopped=failure.stopped, died=failure.died)
        # What _attempt did not see: a result that cannot be sent, or a group that cannot be built.
        for rank, error in failure.errors.items():
            outcome.told[rank] = Ending(error=error, at_s=time.time())
    outcome.output = output.getvalue()
    return outcome


def _limit_now_s() -> float:
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    return LIMIT_S * min(max(busy, 1.0), 3.0)


def _show(output: str) -> None:
    """Print what the ranks have printed, but not so much that a notebook suffers."""
    lines = [line[:SHOWN_COLUMNS] for line in output.splitlines()]
    for line in lines[:SHOWN_LINES]:
        print(line)
    if len(lines) > SHOWN_LINES:
        print(f"... and {len(lines) - SHOWN_LINES} lines more")


_UNEQUAL = (  # gloo ends the process when a message is longer than what was to be received
    "A message came that is longer than the one it waited for: all ranks must make the same calls, "
    "with tensors of the same size, in the same order."
)
_LEFT = "Did your function call os._exit, or use more memory than there is?"


def _attempt(call: Callable[[Mesh], Any], mesh: Mesh) -> Ending:
    """Call and tell how it ended, whatever the learner's function raises."""
    try:
        value = call(mesh)
        _linger(mesh)
        return Ending(value=value, at_s=time.time())
    except CheckFailed as failure:
        return Ending(told=str(failure), at_s=time.time())
    except CollectiveTimeout as error:
        return Ending(waits=error.operation, line=_own_line(error), at_s=time.time())
    except BaseException as error:
        line, at_s = _own_line(error), time.time()
        if _closed(error):
            notes = getattr(error, "__notes__", ["a message"])
            return Ending(waits=notes[0], line=line, at_s=at_s)
        return Ending(error=_words(error), line=line, at_s=at_s)


def _linger(mesh: Mesh) -> None:
    """Stay until the others are done too, or for a second: one may still be sending to us."""
    store = mesh.progress.store
    if store is not None:
        store.set(f"done {mesh.rank}", "")
        end_s = time.monotonic() + LINGER_S
        while time.monotonic() < end_s:
            if store.check([f"done {rank}" for rank in range(mesh.world_size)]):
                return
            time.sleep(0.005)


def _words(error: BaseException) -> str:
    if isinstance(error, NotImplementedError):
        return "is not written yet: fill the gap in the cell above, then run this cell again"
    if isinstance(error, SystemExit):
        return "called exit: a function that is part of a training step must return"
    if isinstance(error, KeyboardInterrupt):
        return "raised KeyboardInterrupt"
    return "raised " + "".join(traceback.format_exception_only(error)).strip()[:600]


def _closed(error: BaseException) -> bool:
    """Tell whether an error of gloo says that the other side has gone."""
    words = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "connection closed" in words or "connection reset" in words or "broken pipe" in words
    )


_LIBRARY = [Path(__file__).resolve().parents[1], *{Path(sys.prefix), Path(sys.base_prefix) / "lib"}]


def _is_own(file: str) -> bool:
    """Tell whether code is the learner's: neither ours nor that of Python's packages."""
    path = Path(file)
    return not file.startswith("<") and not any(path.is_relative_to(home) for home in _LIBRARY)


def _own_line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_own(frame.filename)]
    return _shown_line(own[-1].filename, own[-1].lineno or 0) if own else ""


def _shown_line(file: str, number: int) -> str:
    text = linecache.getline(file, number).strip()
    return f"line {number}: {text}" if text else f"line {number}"


def _stack_line(frames: list[str]) -> str:
    """Return the learner's innermost line in a stack as faulthandler writes it."""
    for frame in frames:
        found = re.match(r'File "(.*)", line (\d+)', frame)
        if found and _is_own(found[1]):
            return _shown_line(found[1], int(found[2]))
    return ""


def _raise_worst(
    told: dict[int, Ending], stopped: dict[int, list[str]], n: int, limit_s: float
) -> None:
    """Raise the cause; waits of the other ranks are only its consequences."""
    ends = sorted(told.items(), key=lambda item: item[1].at_s)
    for _, end in ends:
        if end.told:
            raise CheckFailed(end.told)
    raised = [(rank, end) for rank, end in ends if end.error]
    if raised:
        rank, first = raised[0]
        same = [other for other, end in raised if end.error == first.error]
        where = "" if len(same) == n else f"on rank {rank} of {n}, "
        line = f"\n    {first.line}" if first.line else ""
        raise CheckFailed(f"{where}your function {first.error}{line}")
    if stopped or any(end.waits for end in told.values()):
        raise CheckFailed(_standstill(told, stopped, n, limit_s))


def _standstill(
    told: dict[int, Ending], stopped: dict[int, list[str]], n: int, limit_s: float
) -> str:
    busy = sorted(stopped)
    waiting = [rank for rank, end in sorted(told.items()) if end.waits]
    back = [rank for rank, end in sorted(told.items()) if end.returned]
    if busy:
        headline = (
            f"not done after {limit_s:.3g} s: {ranks_words(busy)} still busy. An endless loop? "
            "(On a very busy machine, try again with limit_s=20.)"
        )
    elif back:
        headline = (
            f"{ranks_words(waiting)} waiting for a message that never comes, as "
            f"{ranks_words(back)} already back: each Receive needs its Send, each all_reduce all "
            "ranks."
        )
    else:
        headline = (
            "a deadlock: every rank waits for another. Post sends and receives together, and wait "
            "afterwards; all ranks must make the same calls in the same order."
        )
    lines = [headline]
    for rank in range(n):
        if rank in stopped:
            line = _stack_line(stopped[rank]) or "a line of the library, not yours"
            lines.append(f"    rank {rank} is busy at {line}")
        elif told[rank].waits:
            line = told[rank].line or "a line of the trainer, not yours"
            lines.append(f"    rank {rank} waits in {told[rank].waits}, at {line}")
        else:
            lines.append(f"    rank {rank} has returned")
    return "\n".join(lines)


def plain_tensor(value: object, who: str) -> Tensor:
    """Return a copy of a tensor that is nothing but a tensor: no class with an == of its own."""
    if type(value) is not Tensor and type(value) is not nn.Parameter:
        raise CheckFailed(f"{who} an object of type {type(value).__name__}, not a tensor")
    return value.detach().clone()


def ranks_words(ranks: Sequence[int]) -> str:
    """Return "rank 1 is" or "ranks 1, 2 and 3 are"."""
    if len(ranks) == 1:
        return f"rank {ranks[0]} is"
    return f"ranks {', '.join(map(str, ranks[:-1]))} and {ranks[-1]} are"
