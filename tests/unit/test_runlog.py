"""The run folder: never half a file, and readers that cope with a run that is still going on."""

import json
import subprocess
from pathlib import Path

import pytest

from course_lib.presets import tiny
from course_lib.runlog import (
    RunLog,
    check_unfinished,
    create_run_dir,
    git_state,
    read_config,
    read_failures,
    read_metrics,
    read_result,
    set_aside_earlier_attempt,
    write_failure,
    write_json,
)


def test_new_folders_never_share_a_name(tmp_path: Path) -> None:
    folders = [create_run_dir(tiny(), tmp_path) for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(folder.name.startswith("tiny-") for folder in folders)
    assert read_config(folders[0]) == tiny()
    assert sorted(path.name for path in folders[0].iterdir()) == ["config.json", "git.json"]


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a run folder: it has no config.json"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"config\.json: .*missing: name, model"):
        read_config(tmp_path)


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"new": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_metrics_come_back_and_an_unfinished_last_line_is_left_out(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    log = RunLog(tmp_path, rank=0)
    log.metrics({"step": 1, "loss": 2.5})
    log.metrics({"step": 1, "val_loss": 2.25})
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 2.5}, {"step": 1, "val_loss": 2.25}]
    log.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 2, "lo')
    assert len(read_metrics(tmp_path)) == 2


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2 is damaged"):
        read_metrics(tmp_path)


def test_other_ranks_write_and_print_nothing(tmp_path: Path, capsys) -> None:
    log = RunLog(tmp_path, rank=1)
    log.metrics({"step": 1})
    log.say("hello")
    log.close()
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_failures_come_back_earliest_first(tmp_path: Path) -> None:
    for rank, error in ((1, ValueError("first\nmore")), (0, RuntimeError("then"))):
        try:
            raise error
        except Exception as raised:
            write_failure(tmp_path, rank, raised)
    failures = read_failures(tmp_path)
    assert [f["rank"] for f in failures] == [1, 0]
    assert failures[0]["error"] == "ValueError: first"
    assert "Traceback" in failures[0]["traceback"]
    assert failures[0].keys() == {"rank", "host", "time_s", "error", "traceback"}


def test_earlier_attempts_are_kept_apart_and_results_are_not_overwritten(tmp_path: Path) -> None:
    for _ in range(2):
        (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
        write_failure(tmp_path, 0, ValueError("no"))
        set_aside_earlier_attempt(tmp_path)
    check_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["earlier_attempts"]
    assert (tmp_path / "earlier_attempts" / "2" / "failed" / "rank_0.json").is_file()
    assert read_result(tmp_path) is None
    write_json(tmp_path / "result.json", {"status": "completed"})
    with pytest.raises(ValueError, match="already holds a finished run"):
        check_unfinished(tmp_path)


def test_git_state(tmp_path: Path, monkeypatch) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path)["note"].startswith("no git state: ")

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    git("init")
    assert git_state(tmp_path)["commit"] is None
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "one")
    clean = git_state(tmp_path)
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    (tmp_path / "file").write_text("2")
    assert git_state(tmp_path)["dirty"] is True
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path)["note"].startswith("no git state: ")
