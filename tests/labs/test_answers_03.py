"""Lab 03's answer bank: right answers pass, wrong and hostile ones get the message promised.

Each answer is a function, tried on real ranks.
"""

from pathlib import Path

import pytest

from course_lib.grade import data_parallel
from tests.labs.answer_bank import BANKS, PASSED, answers, kinds, try_function, verdict_on

NAME = "03_data_parallel"
# A run that is handed in is held against accounting: its forgeries are in tests/slurm.
EXERCISES = [exercise.name for exercise in data_parallel.LAB.exercises if exercise.parameters]


@pytest.fixture(autouse=True)
def own_workspace(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))


@pytest.mark.parametrize("path", answers(NAME), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_answer(path: Path, row) -> None:
    try_function(data_parallel, path, row)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_right_answers_pass_the_hidden_cases(exercise: str) -> None:
    for path in sorted((BANKS / NAME).glob(f"{exercise}/right_*.py")):
        assert verdict_on(data_parallel, path, hidden=True) == PASSED, path.stem


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_bank_is_large_enough(exercise: str) -> None:
    found = kinds(NAME, exercise)
    assert found.count("right") >= 2 and found.count("wrong") >= 4 and found.count("hostile") >= 2


def test_answers_are_no_package_that_ships() -> None:
    assert list(BANKS.rglob("__init__.py")) == []
