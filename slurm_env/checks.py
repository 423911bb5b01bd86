"""What a check is, what it can find, and how many are run together.

A check looks at one thing a learner would name ("disk space") and gives a `Finding`. Whatever goes
wrong inside a check is a finding of that check alone: it crashes, hangs or meets a fault of the
cluster, and the others go on.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slurm_env.processes import ClusterError

OK, WARNING, FAILED, SKIPPED = STATES = ("ok", "warning", "failed", "skipped")


@dataclass(frozen=True)
class Finding:
    """What a check found; anything but ok says in a sentence what to do about it."""

    state: str
    found: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"a finding is one of {', '.join(STATES)}, not {self.state!r}")
        if self.state != OK and not self.remedy:
            raise ValueError(f"{self.state} without a remedy: {self.found}")


class Trouble(Exception):
    """Ends a check from deep inside with its finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.found)
        self.finding = finding


@dataclass(frozen=True)
class Check:
    name: str
    look: Callable[[], Finding]
    limit_s: float = 20


def one_line(text: str, longest: int = 300) -> str:
    """Fold a message into one line of bearable length."""
    words = " ".join(text.split())
    return words if len(words) <= longest else words[: longest - 3] + "..."


def look_safely(check: Check) -> Finding:
    """Run one check; a crash becomes its finding."""
    try:
        return check.look()
    except Trouble as trouble:
        return trouble.finding
    except ClusterError as error:
        return Finding(
            FAILED,
            one_line(str(error)),
            "`workshop up` mends what is dead; if not, `workshop down` and `workshop up`.",
        )
    except Exception as error:
        return Finding(
            FAILED,
            one_line(f"the check itself broke: {type(error).__name__}: {error}"),
            "Tell the makers of the workshop, with the output of `workshop doctor --json`.",
        )


def run_checks(
    checks: Sequence[Check], at_once: int, on_end: Callable[[Check, Finding], None]
) -> list[Finding]:
    """Run checks side by side and give their findings in the order of `checks`.

    `on_end` is called as each one ends. A check over its time limit is given up: Python can't end a
    thread, so it is left behind (every wait in it is bounded) and doesn't keep the program alive.
    """
    ended: queue.SimpleQueue[tuple[int, Finding]] = queue.SimpleQueue()
    findings: dict[int, Finding] = {}
    deadlines: dict[int, float] = {}
    waiting = list(range(len(checks)))

    def start(index: int) -> None:
        def work() -> None:
            ended.put((index, look_safely(checks[index])))

        deadlines[index] = time.monotonic() + checks[index].limit_s
        threading.Thread(target=work, daemon=True).start()

    while waiting or deadlines:
        while waiting and len(deadlines) < at_once:
            start(waiting.pop(0))
        next_index = min(deadlines, key=lambda index: deadlines[index])
        try:
            index, finding = ended.get(timeout=max(0, deadlines[next_index] - time.monotonic()))
        except queue.Empty:
            index, finding = next_index, _gave_up(checks[next_index])
        if deadlines.pop(index, None) is None:
            continue  # a check that was given up has ended after all
        findings[index] = finding
        on_end(checks[index], finding)
    return [findings[index] for index in range(len(checks))]


def _gave_up(check: Check) -> Finding:
    return Finding(
        FAILED,
        f"no answer in {check.limit_s:g} s",
        "Look with `top` whether the machine is overloaded, then run `workshop doctor` again.",
    )
