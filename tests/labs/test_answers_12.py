"""Lab 12's answer bank: right answers pass, wrong and hostile ones get the message promised.

Functions are tried in a forked rank. A forecast and the numbers about GPT-3 are judged by
arithmetic. The sixth run is made up: its files lie where hand_in_run puts them, and are held
against what the task wants; forged receipts are in tests/unit/test_receipts.py.
"""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import pytest

from course_lib.config import RunConfig
from course_lib.grade import scaling_laws
from course_lib.grade.checks import CheckFailed
from course_lib.grade.receipts import Wanted, _check_config
from course_lib.grade.runs import FOLDER, claims
from course_lib.layout import check_layout
from course_lib.runlog import config_digest
from tests.labs.answer_bank import BANKS, PASSED, answers, kinds, load, try_within_limits

NAME = "12_scaling_laws"
LAB = scaling_laws.LAB
FUNCTIONS = [exercise.name for exercise in LAB.exercises if exercise.parameters]
FILE = Path(scaling_laws.ANSWERS.file)
RANKS = 1


@pytest.fixture(autouse=True)
def own_workspace(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path / "workshop"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def witnessed(monkeypatch) -> None:
    """Let accounting say that a run handed in is true; what the task wants of it is looked at."""

    def check_run(name: str, wanted: Wanted) -> str:
        run, receipt = claims(name)
        reasons = _check_config(receipt, run, wanted)
        if reasons:
            raise CheckFailed("\n    ".join(reasons))
        return "the receipt fits."

    monkeypatch.setattr(scaling_laws, "check_run", check_run)


def verdict(path: Path, **options: Any) -> str:
    """Return what the check says to an answer."""
    exercise = path.parent.name
    check = getattr(scaling_laws, f"check_{exercise}")
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
    if hasattr(answer, "hand_in"):
        answer.hand_in(FILE)
    elif exercise == "gpt3":
        scaling_laws.hand_in("gpt3", found=answer.found)
    else:
        scaling_laws.hand_in("forecast", ladder=answer.ladder, said=answer.said)
    if exercise == "sixth":
        run = scaling_laws.sixth_run()
        if hasattr(answer, "run"):
            run = answer.run(run, dataclasses.replace)
        hand_in_made_up(run, answer.held_out)
        if hasattr(answer, "said_afterwards"):
            scaling_laws.hand_in("forecast", ladder=answer.ladder, said=answer.said_afterwards)


def hand_in_made_up(run: RunConfig, held_out: Any) -> None:
    """Write what `hand_in_run` writes of a run."""
    receipt = {
        "job_id": "7",
        "step_id": "0",
        "user": "ada",
        "nodes": ["node1"],
        "ranks": RANKS,
        "layout": json.loads(json.dumps(dataclasses.asdict(check_layout(run, RANKS)))),
        "config_sha256": config_digest(run),
        "first_loss": {"step": 1, "loss": 6.24},
        "last_loss": {"step": run.train.steps, "loss": 3.3},
        "held_out_loss": held_out and {"step": run.train.steps, "loss": held_out},
        "bytes_by_axis": {},
        "step_s": 0.02,
        "exit_cause": "finished",
        "code": {},
        "start_s": 1.0,
        "end_s": 2.0,
    }
    folder = FOLDER / "sixth"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "receipt.json").write_text(json.dumps(receipt))
    (folder / "config.json").write_text(run.to_json())
    (folder / "metrics.jsonl").write_text("")
    (folder / "where.json").write_text('{"run_dir": "nowhere"}')


@pytest.mark.parametrize("path", answers(NAME), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_answer(path: Path, row) -> None:
    try_within_limits(path, row, functools.partial(verdict, path))


@pytest.mark.parametrize("exercise", [exercise.name for exercise in LAB.exercises])
def test_right_answers_pass_the_hidden_cases(exercise: str) -> None:
    for path in sorted((BANKS / NAME).glob(f"{exercise}/right_*.py")):
        assert verdict(path, hidden=True) == PASSED, path.stem


@pytest.mark.parametrize("exercise", [exercise.name for exercise in LAB.exercises])
def test_the_bank_is_large_enough(exercise: str) -> None:
    found = kinds(NAME, exercise)
    assert found.count("right") >= 2 and found.count("wrong") >= 4 and found.count("hostile") >= 2


@pytest.mark.parametrize("exercise", ["forecast", "sixth", "gpt3"])
def test_nothing_handed_in_is_0_points_and_says_how(exercise: str) -> None:
    with pytest.raises(CheckFailed) as failure:
        getattr(scaling_laws, f"check_{exercise}")()
    said = " ".join(str(failure.value).split())
    assert "nothing is handed in yet" in said and "Write: hand_in" in said


def test_a_forecast_that_does_not_follow_from_the_ladder_starts_no_run() -> None:
    answer = load(BANKS / NAME / "forecast" / "wrong_last_rung.py")
    scaling_laws.hand_in("forecast", ladder=answer.ladder, said=answer.said)
    with pytest.raises(CheckFailed, match="fifth rung's loss"):
        scaling_laws.sixth_run()


def test_a_run_that_accounting_does_not_know_is_named(monkeypatch) -> None:
    def unknown(name: str, wanted: Wanted) -> str:
        raise CheckFailed("SLURM knows no job 7")

    monkeypatch.setattr(scaling_laws, "check_run", unknown)
    assert "SLURM knows no job 7" in verdict(BANKS / NAME / "sixth" / "right_as_foretold.py")
