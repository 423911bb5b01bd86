"""Numbers by name, or a run, as an answer: what is taken, and what is refused with which words."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from course_lib.grade.checks import CheckFailed
from course_lib.grade.handed_in import MAX_NUMBERS, Answers
from course_lib.grade.runs import FOLDER, hand_in_run, ran_in

ANSWERS = Answers(file="answers.json", wanted={"findings": {"found": dict}})


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_numbers_come_back_as_plain_ones(capsys) -> None:
    ANSWERS.write("findings", found={"loader": np.float32(1.5), "sync": 209})
    assert ANSWERS.read("findings") == {"found": {"loader": 1.5, "sync": 209.0}}
    assert capsys.readouterr().out == "Handed in for findings: found 2 numbers\n"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([1, 2], "found is a dict of numbers, as in found="),
        ({"loader": "41 ms"}, "found['loader'] is no number but '41 ms'"),
        ({"loader": True}, "found['loader'] is no number"),
        ({"loader": None}, "found['loader'] is no number but a NoneType"),
        ({"loader": float("nan")}, "found['loader'] is no number"),
        ({"loader": 10**400}, "found['loader'] is no number"),
        ({7: 1.0}, "an entry whose name is 7, not a short text"),
        ({"x" * 100: 1.0}, "not a short text"),
        ({str(n): n for n in range(MAX_NUMBERS + 1)}, "100 are the most"),
    ],
)
def test_what_is_no_number_is_named(found, message: str) -> None:
    with pytest.raises(CheckFailed) as failure:
        ANSWERS.write("findings", found=found)
    assert message in str(failure.value)


def test_a_file_written_by_hand_is_read_with_care(tmp_path) -> None:
    (tmp_path / "answers.json").write_text('{"findings": {"found": {"loader": 1e999}}}')
    with pytest.raises(CheckFailed, match="is no number"):
        ANSWERS.read("findings")
    (tmp_path / "answers.json").write_text(json.dumps({"findings": {"loader": 1.0}}))
    with pytest.raises(CheckFailed, match=r'hand_in\("findings", found=\{"\.\.\.": 1.5\}\)'):
        ANSWERS.read("findings")


def test_a_run_is_handed_in_by_its_folder(tmp_path) -> None:
    with pytest.raises(CheckFailed, match="by its folder, and this is a SimpleNamespace"):
        hand_in_run("two_nodes", SimpleNamespace(run_dir=tmp_path))  # type: ignore
    with pytest.raises(CheckFailed, match="there is no folder two.run_dir: "):
        hand_in_run("two_nodes", "two.run_dir")


def test_a_run_that_was_handed_in_for_another_exercise_is_mentioned(tmp_path) -> None:
    (tmp_path / FOLDER / "surviving").mkdir(parents=True)
    with pytest.raises(CheckFailed, match=r"in yet \(there is one for surviving\). Write: hand_in"):
        ran_in("survived")
