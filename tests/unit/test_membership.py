"""The record of a person's class is nbgrader's own settings file; what others wrote there stays."""

import json

import pytest

from course_lib.membership import Membership, membership_path, read_membership, write_membership


@pytest.fixture(autouse=True)
def base(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))
    return tmp_path


def test_what_was_written_is_read(base) -> None:
    assert read_membership() is None
    teacher = Membership(course="llm", exchange=base / "exchange", folder=base / "class")
    learner = Membership(course="llm", exchange=base / "exchange", student="ada")
    for member in (teacher, learner, teacher):
        write_membership(member)
        assert read_membership() == member


def test_other_settings_stay(base) -> None:
    membership_path().parent.mkdir(parents=True)
    membership_path().write_text(json.dumps({"Exchange": {"timezone": "CET"}, "Own": {"x": 1}}))
    assert read_membership() is None
    write_membership(Membership(course="llm", exchange=base / "exchange"))
    settings = json.loads(membership_path().read_text())
    assert settings["Own"] == {"x": 1} and settings["Exchange"]["timezone"] == "CET"
    assert settings["Exchange"]["assignment_dir"] == str(base / "workspace")


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_record_is_named_with_the_remedy(base, text) -> None:
    membership_path().parent.mkdir(parents=True)
    membership_path().write_text(text)
    with pytest.raises(ValueError, match=r"nbgrader_config\.json .*then join again"):
        read_membership()
