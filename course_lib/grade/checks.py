"""The machine under each exercise: say what is wrong with a learner's answer, and count and hint.

A check is a plain function of what the learner has made: a function, which `Lab.check` is given, or
something handed in, for which `Lab.judge` is enough. It raises `CheckFailed` with a message in
the learner's terms, or returns the words of the line with the tick. `Lab` counts the tries and
gives hints. Hidden tests call the same check with `hidden=True`: more cases, no counting.

This finds mistakes and no cheats: whoever grades runs the check in a process that the learner's
code cannot reach (assessments/grader); the learner's function is a stand-in there.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from course_lib.grade.progress import changed_progress, now
from course_lib.grade.whose import whose
from course_lib.messages import in_lines

LEVELS = 3
GREEN, PLAIN = "\x1b[32m", "\x1b[0m"
"""For a terminal's and a notebook's output."""


class CheckFailed(Exception):
    """What is wrong, for the learner: a notebook shows the message and no traceback."""

    def _render_traceback_(self) -> list[str]:
        """Return what IPython prints in place of a traceback."""
        return [in_lines(str(self))]


class NotGradable(Exception):
    """Why an answer could not be judged, right or wrong: somebody has to look at it.

    For what is nobody's mistake: SLURM's accounting that does not answer, for example.
    """


@dataclass(frozen=True)
class Exercise:
    """A gap in a lab's notebook, and the help for it."""

    name: str
    """The learner's function, or what is handed in (grade/handed_in.py)."""
    hints: tuple[str, str, str]
    """From a nudge to nearly the answer."""
    parameters: tuple[str, ...] = ()
    """The function's; empty where the answer is none."""


@dataclass(frozen=True)
class Lab:
    """The exercises of a lab, by name."""

    exercises: Sequence[Exercise]
    _by_name: dict[str, Exercise] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._by_name.update({exercise.name: exercise for exercise in self.exercises})

    def check(
        self, name: str, function: object, prove: Callable[[], str], *, hidden: bool = False
    ) -> None:
        """Judge a function: first whether it is one that takes the exercise's arguments.

        Args:
            name: the exercise.
            function: what the learner has written.
            prove: as for `judge`.
            hidden: as for `judge`.
        """

        def prove_function() -> str:
            _require_function(function, self._by_name[name])
            return prove()

        self.judge(name, prove_function, hidden=hidden)

    def judge(self, name: str, prove: Callable[[], str], *, hidden: bool = False) -> None:
        """Print a line with a tick, or raise what is wrong; count the try unless hidden.

        Args:
            name: the exercise.
            prove: raises CheckFailed, or returns what was proved.
            hidden: for grading: nothing is counted.
        """
        counted = not hidden and not whose().graded
        try:
            proved = prove()
        except CheckFailed as failure:
            if counted:
                self._count(name, passed=False)
            raise CheckFailed(f"✗ {name}: {failure}") from None
        if counted:
            self._count(name, passed=True)
        print(in_lines(f"{GREEN}✓ {name}{PLAIN}: {proved}"))

    def hint(self, name: str, level: int = 1) -> None:
        """Print a hint: level 1 is a nudge, 3 nearly the answer.

        Level 1 is there at once. Level 2 wants one try of the check, level 3 two, and each the
        level before it. A hint that has been shown once is shown again; a solved exercise shows
        all of them.

        Raises:
            CheckFailed: there is no such exercise or level.
        """
        if name not in self._by_name:
            raise CheckFailed(f"There are hints for {', '.join(self._by_name)}, not for {name}.")
        if type(level) is not int or not 1 <= level <= LEVELS:
            raise CheckFailed(f'The levels are 1 to {LEVELS}: hint("{name}", 1)')
        with changed_progress() as record:
            entry = _entry(record, name)
            asked = entry["hints"]
            tries = int(entry["tries"])
            free = str(level) in asked or "passed_at" in entry
            if not free and level > 1 and str(level - 1) not in asked:
                print(f'Read hint {level - 1} first: hint("{name}", {level - 1})')
                return
            if not free and tries < level - 1:
                times = "once" if level == 2 else "twice"
                print(
                    f"Hint {level} is there once you have tried the check {times} "
                    f"(so far: {tries}). What it says may be the better hint."
                )
                return
            asked.setdefault(str(level), now())
        text = self._by_name[name].hints[level - 1]
        gap = "\n" if text.startswith(" ") else " "  # code begins on a line of its own
        print(in_lines(f"Hint {level} of {LEVELS}:{gap}{text}"))
        if level < LEVELS:
            print(f'More: hint("{name}", {level + 1})')

    def _count(self, name: str, *, passed: bool) -> None:
        with changed_progress() as record:
            entry = _entry(record, name)
            entry["tries"] = int(entry["tries"]) + 1
            if passed:
                entry.setdefault("passed_at", now())


def _entry(record: dict[str, Any], name: str) -> dict[str, Any]:
    return record["checks"].setdefault(name, {"tries": 0, "hints": {}})


def _require_function(function: object, exercise: Exercise) -> None:
    call = f"{exercise.name}({', '.join(exercise.parameters)})"
    if not callable(function):
        raise CheckFailed(
            f"the check was given a {type(function).__name__}, not your function: pass it by its "
            f"name, without brackets behind it. It is called as {call}"
        )
    try:
        inspect.signature(function).bind(*exercise.parameters)
    except TypeError:
        raise CheckFailed(f"your function must take these arguments: {call}") from None
    except ValueError:
        pass  # a function written in C does not tell its arguments; the call will
