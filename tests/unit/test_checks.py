"""The machine under the exercises: what a learner sees, whatever the function does; hints."""

import json
import os
import time

import pytest
from IPython.core.interactiveshell import InteractiveShell

from course_lib.grade import progress
from course_lib.grade.checks import CheckFailed, Exercise, Lab
from course_lib.grade.data_parallel import check_make_buckets
from course_lib.grade.trials import on_ranks
from course_lib.parallel import comm

LAB = Lab([Exercise(name="double", parameters=("x",), hints=("nudge", "way", "answer"))])


@pytest.fixture(autouse=True)
def own_workspace(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))


def fail() -> str:
    raise CheckFailed("every number is halved")


def tried(function: object = lambda x: 2 * x, prove=fail, **options: object) -> str:
    with pytest.raises(CheckFailed) as failure:
        LAB.check("double", function, prove, **options)
    return str(failure.value)


def test_a_pass_is_a_line_with_a_tick(capsys) -> None:
    LAB.check("double", lambda x: 2 * x, lambda: "all numbers are doubled.")
    assert capsys.readouterr().out == "\x1b[32m✓ double\x1b[0m: all numbers are doubled.\n"


def test_a_failure_is_the_message_and_nothing_else(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell = InteractiveShell()
    shell.user_ns["check"] = lambda: LAB.check("double", lambda x: x, fail)
    shown: list[str] = []
    shell._showtraceback = lambda kind, value, lines: shown.extend(lines)
    shell.run_cell("check()")
    assert shown == ["✗ double: every number is halved"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (3, "the check was given a int, not your function: pass it by its name"),
        (lambda: 3, r"your function must take these arguments: double\(x\)"),
        (lambda x, y: 3, r"your function must take these arguments: double\(x\)"),
    ],
)
def test_what_is_no_such_function(function: object, message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        LAB.check("double", function, lambda: "")


def test_hints_come_one_after_the_other(capsys) -> None:
    def asked(level: int) -> str:
        LAB.hint("double", level)
        return capsys.readouterr().out

    assert "Read hint 2 first" in asked(3)
    assert asked(1).startswith("Hint 1 of 3: nudge")
    assert "once you have tried the check once (so far: 0)" in asked(2)
    tried()
    assert asked(2).startswith("Hint 2 of 3: way")
    assert "tried the check twice (so far: 1)" in asked(3)
    tried()
    assert asked(3) == "Hint 3 of 3: answer\n"
    record = json.loads(progress.progress_file().read_text())["checks"]["double"]
    assert record["tries"] == 2 and sorted(record["hints"]) == ["1", "2", "3"]
    with pytest.raises(CheckFailed, match="hints for double, not for halve"):
        LAB.hint("halve")
    with pytest.raises(CheckFailed, match="levels are 1 to 3"):
        LAB.hint("double", 4)


def test_a_hint_that_begins_with_code_begins_on_a_line_of_its_own(capsys) -> None:
    code = "    for x in xs:\n        x *= 2"
    Lab([Exercise(name="all", parameters=("xs",), hints=(code, "way", "answer"))]).hint("all")
    assert capsys.readouterr().out.startswith(f"Hint 1 of 3:\n{code}\n")


def test_who_has_solved_it_may_read_all_hints(capsys) -> None:
    LAB.check("double", lambda x: 2 * x, lambda: "")
    LAB.hint("double", 3)
    assert "answer" in capsys.readouterr().out


def test_hidden_checks_leave_no_trace() -> None:
    tried(hidden=True)
    assert not progress.progress_file().exists()


def test_a_damaged_record_is_kept_aside_and_begun_again(capsys) -> None:
    tried()
    progress.progress_file().write_text("{")
    tried()
    assert "is kept as" in capsys.readouterr().out
    assert json.loads(progress.progress_file().read_text())["checks"]["double"]["tries"] == 1


def test_a_workspace_that_cannot_be_written_stops_no_check(monkeypatch, capsys) -> None:
    monkeypatch.setenv("WORKSHOP_BASE", "/dev/null")
    tried()
    assert "are not kept" in capsys.readouterr().out


def test_one_rank_busy_and_one_waiting() -> None:
    def call(mesh):
        if mesh.rank == 1:
            time.sleep(60)
        comm.barrier(mesh.dp)

    with pytest.raises(CheckFailed) as failure:
        on_ranks(call, 2, limit_s=2)
    lines = str(failure.value).splitlines()
    assert lines[0].startswith("not done after 2 s: rank 1 is still busy")
    assert "rank 0 waits in barrier on axis dp, at line" in lines[1]
    assert lines[1].endswith("comm.barrier(mesh.dp)")
    assert "rank 1 is busy at line" in lines[2] and lines[2].endswith("time.sleep(60)")


def test_the_cause_and_not_its_consequence_is_told() -> None:
    def call(mesh):
        if mesh.rank == 2:
            return [][0]
        comm.barrier(mesh.dp)

    with pytest.raises(CheckFailed, match="^on rank 2 of 3, your function raised IndexError: list"):
        on_ranks(call, 3)


def test_a_result_that_cannot_be_sent_and_a_rank_that_dies() -> None:
    with pytest.raises(CheckFailed, match="cannot be sent back"):
        on_ranks(lambda mesh: lambda: None, 1)
    with pytest.raises(CheckFailed, match="rank 0 of 1 exited with code 3"):
        on_ranks(lambda mesh: os._exit(3), 1)


def test_what_a_right_function_prints_is_shown(capsys) -> None:
    def make_buckets(parameters, bucket_bytes):
        print("so many:", len(parameters))
        return []

    with pytest.raises(CheckFailed, match="in no bucket"):
        check_make_buckets(make_buckets)
    assert "rank 0 | so many: 28" in capsys.readouterr().out


def test_a_flood_of_output_is_cut(capsys) -> None:
    on_ranks(lambda mesh: [print("x" * 1000) for _ in range(1000)] and None, 1)
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 61 and shown[-1] == "... and 940 lines more"
    assert max(map(len, shown)) == 200
