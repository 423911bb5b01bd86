"""Lab 05's answer bank: right answers pass, wrong and hostile ones get the message promised.

Most answers are functions, tried in a forked rank. Findings are numbers, judged here by arithmetic,
as while grading. A run before and after is made up: its files lie where hand_in_run puts them;
forged ones are in tests/slurm and tests/unit/test_receipts.py.
"""

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from course_lib.config import RunConfig
from course_lib.grade import profile_and_optimize
from course_lib.grade.checks import CheckFailed
from course_lib.grade.profile_and_optimize import slow_run
from course_lib.grade.runs import FOLDER
from course_lib.grade.whose import Whose
from course_lib.runlog import config_digest
from tests.labs.answer_bank import BANKS, PASSED, answers, kinds, load, try_within_limits

NAME = "05_profile_and_optimize"
LAB = profile_and_optimize.LAB
FUNCTIONS = [exercise.name for exercise in LAB.exercises if exercise.parameters]
FILE = Path(profile_and_optimize.ANSWERS.file)


@pytest.fixture(autouse=True)
def own_workspace(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path / "workshop"))
    monkeypatch.chdir(tmp_path)


def verdict(path: Path, **options: Any) -> str:
    """Return what the check says to an answer."""
    exercise = path.parent.name
    check = getattr(profile_and_optimize, f"check_{exercise}")
    try:
        if exercise in FUNCTIONS:
            check(getattr(load(path), exercise), **options)
        else:
            hand_in(exercise, load(path))
            check(hidden=options.get("hidden", False))
    except CheckFailed as failure:
        return " ".join(str(failure).split())
    return PASSED


def hand_in(exercise: str, answer: Any) -> None:
    """Hand in what an answer's module says."""
    if exercise == "optimized":
        slow = slow_run()
        before = answer.before(slow) if hasattr(answer, "before") else slow
        ratio, last = getattr(answer, "ratio", 4.0), getattr(answer, "last_loss", 1.0)
        last = 6.5 * last if isinstance(last, float) else last
        hand_in_made_up("before", before, getattr(answer, "before_step_s", 0.2), 6.5)
        step_s = getattr(answer, "step_s", 0.2 / ratio)
        hand_in_made_up("after", answer.after(slow), step_s, last)
    elif hasattr(answer, "hand_in"):
        answer.hand_in(FILE)
    else:
        profile_and_optimize.hand_in(exercise, found=answer.found)


def hand_in_made_up(name: str, run: RunConfig, step_s: Any, last_loss: Any) -> None:
    """Write what `hand_in_run` writes of a run."""
    receipt = {
        "job_id": "7",
        "step_id": "0",
        "user": "ada",
        "nodes": ["node1", "node2"],
        "ranks": 2,
        "layout": {},
        "config_sha256": config_digest(run),
        "first_loss": {"step": 1, "loss": 7.63},
        "last_loss": {"step": run.train.steps, "loss": last_loss},
        "bytes_by_axis": {},
        "step_s": step_s,
        "exit_cause": "finished",
        "code": {},
        "start_s": 1.0,
        "end_s": 2.0,
    }
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "receipt.json").write_text(json.dumps(receipt))
    (folder / "config.json").write_text(run.to_json())
    (folder / "metrics.jsonl").write_text("")
    (folder / "where.json").write_text('{"run_dir": "nowhere"}')


@pytest.fixture
def witnessed(monkeypatch) -> None:
    """Let grading begin, and accounting say that the runs handed in are true."""
    graded = Whose(user="ada", graded=True)
    monkeypatch.setattr(profile_and_optimize, "whose", lambda: graded)
    monkeypatch.setattr(profile_and_optimize, "check_run", lambda name, wanted: "")


@pytest.mark.parametrize("path", answers(NAME), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_answer(path: Path, row, witnessed) -> None:
    try_within_limits(path, row, functools.partial(verdict, path))


@pytest.mark.parametrize("exercise", [exercise.name for exercise in LAB.exercises])
def test_right_answers_pass_the_hidden_cases(exercise: str, witnessed) -> None:
    for path in sorted((BANKS / NAME).glob(f"{exercise}/right_*.py")):
        assert verdict(path, hidden=True) == PASSED, path.stem


@pytest.mark.parametrize("exercise", [exercise.name for exercise in LAB.exercises])
def test_the_bank_is_large_enough(exercise: str) -> None:
    found = kinds(NAME, exercise)
    assert found.count("right") >= 2 and found.count("wrong") >= 4 and found.count("hostile") >= 2


@pytest.mark.parametrize("exercise", ["findings", "optimized"])
def test_nothing_handed_in_is_0_points_and_says_how(exercise: str, witnessed) -> None:
    with pytest.raises(CheckFailed) as failure:
        getattr(profile_and_optimize, f"check_{exercise}")()
    said = " ".join(str(failure.value).split())
    assert "nothing is handed in yet. Write: hand_in" in said


def test_a_run_that_accounting_does_not_know_is_named(monkeypatch) -> None:
    path = BANKS / NAME / "optimized" / "right_all_six.py"

    def unknown(name: str, wanted: object) -> str:
        if name == "after":
            raise CheckFailed("SLURM knows no job 7")
        return ""

    monkeypatch.setattr(profile_and_optimize, "check_run", unknown)
    assert "the run after: SLURM knows no job 7" in verdict(path)
