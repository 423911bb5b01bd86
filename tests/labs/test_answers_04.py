"""Lab 04's answer bank: right answers pass, wrong and hostile ones get the message promised.

Each answer is a function, called in a rank that can be stopped.
"""

from pathlib import Path

import pytest

from course_lib.grade import multi_node_scaling
from tests.labs.answer_bank import BANKS, PASSED, answers, kinds, try_function, verdict_on

NAME = "04_multi_node_scaling"
# A run that is handed in is held against accounting: tests/unit/test_receipts.py forges some.
EXERCISES = [exercise.name for exercise in multi_node_scaling.LAB.exercises if exercise.parameters]


@pytest.fixture(autouse=True)
def own_workspace(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))


@pytest.mark.parametrize("path", answers(NAME), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_answer(path: Path, row) -> None:
    try_function(multi_node_scaling, path, row)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_right_answers_pass_the_hidden_cases(exercise: str) -> None:
    for path in sorted((BANKS / NAME).glob(f"{exercise}/right_*.py")):
        assert verdict_on(multi_node_scaling, path, hidden=True) == PASSED, path.stem


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_bank_is_large_enough(exercise: str) -> None:
    found = kinds(NAME, exercise)
    assert found.count("right") >= 2 and found.count("wrong") >= 4 and found.count("hostile") >= 2


def test_nothing_handed_in_is_said_so(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(multi_node_scaling.CheckFailed, match="nothing is handed in yet. Write: ha"):
        multi_node_scaling.check_survived()
