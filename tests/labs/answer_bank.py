"""Answer banks: what the tests of every lab's bank share.

An answer is a file assessments/answers/LAB/EXERCISE/KIND_name.SUFFIX; KIND is right, wrong or
hostile. A comment says what is expected: `# right`, or `# promised: words of the message`;
`# promised (hidden):` for what only the hidden cases can find. It stands at the top; in a shell
script, whose first line is the shell's, at the end.
"""

import functools
import importlib.util
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from course_lib.grade.checks import CheckFailed
from course_lib.grade.trials import LIMIT_S

BANKS = Path(__file__).resolve().parents[2] / "assessments/answers"
PASSED = "✓"
HANGS_S = 60.0
"""A check of a hostile answer ends long before, on a busy machine, too."""


def load(path: Path) -> ModuleType:
    """Return an answer's module."""
    spec = importlib.util.spec_from_file_location(f"answer_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Expected:
    """What an answer's comment says."""

    words: str
    """Of the message; the tick for a right answer."""
    hidden: bool

    @property
    def right(self) -> bool:
        return self.words == PASSED


def expected(path: Path) -> Expected:
    """Read what is expected of an answer."""
    lines = path.read_text().splitlines()
    if path.suffix == ".sh":
        lines = lines[::-1]
    header = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    if path.suffix == ".sh":
        header = header[:1]  # what stands above may be the script's own
    text = " ".join(line.removeprefix("#").strip() for line in header)
    if text == "right":
        return Expected(PASSED, hidden=False)
    kind, _, words = text.partition(": ")
    assert kind in ("promised", "promised (hidden)"), f"{path} does not say what is expected"
    return Expected(words, hidden=kind.endswith("(hidden)"))


def try_answer(path: Path, row: Callable[..., None], verdict: Callable[[bool], str]) -> float:
    """Hold an answer against what is expected of it; return the seconds of the first try.

    Args:
        path: the answer.
        row: adds a row to the table that pytest prints.
        verdict: takes `hidden`; returns the tick, or what the check says, in one line.
    """
    promised = expected(path)
    began = time.monotonic()
    got = verdict(False)
    seconds = time.monotonic() - began
    if promised.hidden:
        assert got == PASSED, got
        got = verdict(True)
    row(
        f"answer bank of {path.parents[1].name}: expected and got",
        exercise=path.parent.name,
        answer=path.stem + (" (hidden)" if promised.hidden else ""),
        expected=_short(promised.words, 60),
        got="as expected" if promised.words in got else _short(got, 60),
        seconds=f"{seconds:.1f}",
    )
    assert promised.words in got
    assert promised.right == (got == PASSED) == path.stem.startswith("right")
    return seconds


def verdict_on(checks: ModuleType, path: Path, **options: object) -> str:
    """Return what the check of a function says to an answer, in one line, or the tick."""
    exercise = path.parent.name
    try:
        getattr(checks, f"check_{exercise}")(getattr(load(path), exercise), **options)
    except CheckFailed as failure:
        return " ".join(str(failure).split())
    return PASSED


def try_function(checks: ModuleType, path: Path, row: Callable[..., None]) -> None:
    """Hold an answer that is a function against what is expected of it.

    Args:
        checks: the package with check_EXERCISE(function, hidden=..., limit_s=...).
        path: the answer.
        row: adds a row to the table that pytest prints.
    """
    try_within_limits(path, row, functools.partial(verdict_on, checks, path))


def try_within_limits(path: Path, row: Callable[..., None], verdict: Callable[..., str]) -> None:
    """Hold an answer against what is expected of it; a hostile one is given a time limit.

    Args:
        path: the answer.
        row: adds a row to the table that pytest prints.
        verdict: takes `hidden` or `limit_s`; returns the tick, or what the check says.
    """
    hostile = path.stem.startswith("hostile")
    # On a busy machine a check is more patient, with right answers at least.
    options = {"limit_s": LIMIT_S} if hostile else {}
    seconds = try_answer(
        path, row, lambda hidden: verdict(**{"hidden": True} if hidden else options)
    )
    if hostile:
        assert seconds < HANGS_S, "the limit did not end it"


def kinds(lab: str, exercise: str) -> list[str]:
    """Return right, wrong or hostile for each answer to an exercise."""
    return [path.stem.split("_")[0] for path in answers(lab) if path.parent.name == exercise]


def answers(lab: str) -> list[Path]:
    """Return the files of a lab's bank."""
    return sorted(path for path in (BANKS / lab).glob("*/*") if path.suffix in (".py", ".sh"))


def _short(text: str, columns: int) -> str:
    return text if len(text) <= columns else text[: columns - 1] + "…"
