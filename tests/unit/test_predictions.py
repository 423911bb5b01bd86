"""Predict, then run: written down first, fixed once the result is out, shown side by side."""

import json

import numpy as np
import pytest

from course_lib.grade.checks import CheckFailed
from course_lib.grade.predictions import (
    compare_prediction,
    lock_prediction,
    predict,
    side_by_side,
)
from course_lib.grade.progress import progress_file

NAME = "step_time_ratio"


@pytest.fixture(autouse=True)
def own_workspace(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path / "me"))
    monkeypatch.delenv("WORKSHOP_CLASS_DIR", raising=False)


def test_side_by_side(capsys) -> None:
    predict(NAME, 2)
    compare_prediction(NAME, np.float64(1.5))
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "Written down: step_time_ratio = 2"
    assert shown[1] == "step_time_ratio, from 0 to 2"
    assert shown[2] == f"  you said    {'·' * 40}o  2"
    assert shown[3] == f"  measured    {'·' * 30}x{'·' * 10}  1.5"
    assert shown[4] == "  Measured is 25 % below what you said. What explains the difference?"


def test_a_prediction_that_came_true_is_not_asked_to_explain_itself() -> None:
    assert side_by_side(NAME, 7.62, 7.65, []).endswith("As you said, to within a percent.")
    assert "below what you said" in side_by_side(NAME, 7.62, 7.5, [])


def test_it_may_be_changed_until_the_measurement_begins(capsys) -> None:
    predict(NAME, 2)
    predict(NAME, 1.9)
    assert "= 1.9 (before: 2)" in capsys.readouterr().out
    lock_prediction(NAME)
    with pytest.raises(CheckFailed, match="you predicted 1.9 .* now it stays"):
        predict(NAME, 1.5)
    predict(NAME, 1.9)  # the notebook is run again from the top
    assert "Your prediction stands" in capsys.readouterr().out
    entry = json.loads(progress_file().read_text())["predictions"][NAME]
    assert entry["value"] == 1.9 and entry["at"] <= entry["locked_at"]


def test_of_several_all_are_locked_or_none() -> None:
    predict(NAME, 2)
    with pytest.raises(CheckFailed, match=r'predict\("another", your number\)'):
        lock_prediction(NAME, "another")
    predict(NAME, 1.9)
    predict("another", 3)
    lock_prediction(NAME, "another")
    for name in (NAME, "another"):
        with pytest.raises(CheckFailed, match="now it stays"):
            predict(name, 5)


def test_seen_is_seen() -> None:
    predict(NAME, 2)
    compare_prediction(NAME, 1.5)
    with pytest.raises(CheckFailed, match="now it stays"):
        predict(NAME, 1.5)


@pytest.mark.parametrize("look", [lock_prediction, lambda name: compare_prediction(name, 1.0)])
def test_no_prediction_no_result(look) -> None:
    with pytest.raises(CheckFailed, match="predict first, a guess will do"):
        look(NAME)


def test_a_misspelt_name_is_shown(capsys) -> None:
    predict("step_time_ration", 2)
    with pytest.raises(CheckFailed, match='Written down is "step_time_ration".'):
        lock_prediction(NAME)


@pytest.mark.parametrize("value", [0, -1])
def test_what_is_predicted_is_above_0(value: float) -> None:
    with pytest.raises(CheckFailed, match=f"is above 0, and you wrote {value}: what do you expect"):
        predict(NAME, value)


def test_a_share_where_percent_are_asked_for_is_asked_about(capsys) -> None:
    predict("mfu_percent", 0.25)
    assert "0.25 percent is meant? If you mean 25 percent, write that." in capsys.readouterr().out
    predict("mfu_percent", 25)
    assert "meant" not in capsys.readouterr().out


@pytest.mark.parametrize("value", ["1.8", None, float("nan"), True, ...])
def test_only_numbers(value: object) -> None:
    with pytest.raises(CheckFailed, match="a number is wanted, as in predict"):
        predict(NAME, value)


@pytest.mark.parametrize(
    ("predicted", "measured", "words"),
    [
        (2, 2, "Exactly as you said"),
        (2, 8, "4 times more than you said"),
        (8, 2, "4 times less than you said"),
        (2, 2.2, "10 % above what you said"),
        (0, 3, "You were 3 away"),
        (0, 0, "Exactly"),
        (-1, 2, "You were 3 away"),
        (-2, -2.2, "You were 0.2 away"),
    ],
)
def test_verdicts(predicted: float, measured: float, words: str) -> None:
    assert words in side_by_side("x", predicted, measured, [])


def test_the_class_is_seen_without_names(tmp_path, monkeypatch, capsys) -> None:
    shared = tmp_path / "class"
    for learner, value in [("ada", 1.0), ("emmy", 2.0), ("grace", 4.0)]:
        monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path / learner))
        predict(NAME, 3.5, class_dir=shared)
        predict(NAME, value, class_dir=shared)  # a change of mind counts once
    (shared / "predictions" / NAME / "odd.json").write_text("[]")
    compare_prediction(NAME, 2.0, class_dir=shared)
    shown = capsys.readouterr().out
    assert "3 predictions, 2 in the middle" in shown
    assert "Left out, as it is no prediction: odd.json" in shown
    names = [str(path) for path in shared.rglob("*")]
    assert not any("ada" in name.removeprefix(str(tmp_path)) for name in names)


def test_a_class_folder_that_cannot_be_written_stops_nobody(monkeypatch, capsys) -> None:
    monkeypatch.setenv("WORKSHOP_CLASS_DIR", "/dev/null")
    predict(NAME, 2)
    compare_prediction(NAME, 2)
    assert "The class will not see it" in capsys.readouterr().out
