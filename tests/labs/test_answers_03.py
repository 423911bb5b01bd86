"""Lab 03's answer bank: right answers pass, wrong and hostile ones get the message promised.

An answer is a file assessments/answers/03_data_parallel/EXERCISE/KIND_name.py. The comment at its
top says what is expected: `# right`, or `# promised: words of the message`; `# promised (hidden):`
for what only the hidden cases can find.
"""

import importlib.util
import itertools
import time
from pathlib import Path

import pytest

from course_lib.grade import data_parallel
from course_lib.grade.checks import CheckFailed
from course_lib.grade.trials import LIMIT_S

BANK = Path(__file__).resolve().parents[2] / "assessments/answers/03_data_parallel"
ANSWERS = sorted(BANK.glob("*/*.py"))
EXERCISES = [exercise.name for exercise in data_parallel.LAB.exercises]
TITLE = "answer bank of lab 03: expected and got"


def load(path: Path):
    """Return the function of an answer."""
    spec = importlib.util.spec_from_file_location(f"answer_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, path.parent.name)


def verdict(path: Path, **options: object) -> str:
    """Return what the check says to an answer."""
    check = getattr(data_parallel, f"check_{path.parent.name}")
    try:
        check(load(path), **options)
    except CheckFailed as failure:
        return " ".join(str(failure).split())
    return "✓"


def _header(path: Path) -> str:
    lines = itertools.takewhile(lambda line: line.startswith("#"), path.read_text().splitlines())
    return " ".join(line.removeprefix("#").strip() for line in lines)


@pytest.fixture(autouse=True)
def own_workspace(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_answer(path: Path, row) -> None:
    header = _header(path)
    right, hidden = header == "right", header.startswith("promised (hidden): ")
    promised = "✓" if right else header.split(": ", 1)[1]
    began = time.monotonic()
    # On a busy machine a check is more patient, with right answers at least.
    got = verdict(path, limit_s=LIMIT_S if path.stem.startswith("hostile") else None)
    seconds = time.monotonic() - began
    if hidden:
        assert got == "✓", got
        got = verdict(path, hidden=True)
    row(
        TITLE,
        exercise=path.parent.name,
        answer=path.stem + (" (hidden)" if hidden else ""),
        expected=_short(promised, 60),
        got="as expected" if promised in got else _short(got, 60),
        seconds=f"{seconds:.1f}",
    )
    assert promised in got
    assert right == (got == "✓") == path.stem.startswith("right")
    if path.stem.startswith("hostile"):
        # The limit of the ranks, and what it takes to start them and to tell.
        assert seconds < 3 * LIMIT_S


@pytest.mark.parametrize("exercise", EXERCISES)
def test_right_answers_pass_the_hidden_cases(exercise: str) -> None:
    for path in sorted(BANK.glob(f"{exercise}/right_*.py")):
        assert verdict(path, hidden=True) == "✓", path.stem


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_bank_is_large_enough(exercise: str) -> None:
    kinds = [path.stem.split("_")[0] for path in BANK.glob(f"{exercise}/*.py")]
    assert kinds.count("right") >= 2 and kinds.count("wrong") >= 4 and kinds.count("hostile") >= 2


def test_answers_are_no_package_that_ships() -> None:
    assert list(BANK.parent.rglob("__init__.py")) == []


def _short(text: str, columns: int) -> str:
    return text if len(text) <= columns else text[: columns - 1] + "…"
