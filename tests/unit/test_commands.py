"""SLURM's lines in a notebook: words and environment of a call, and what a refusal looks like."""

import re
from typing import Any

import pytest

from course_lib.slurm import commands
from course_lib.slurm.client import CommandFailed
from course_lib.slurm.commands import Answered, reply, site_environment, slurm, submit
from course_lib.slurm.site import Site

SITE = Site(name="here", partition="fast", qos="night")
SCRIPT = "#!/bin/bash\n#SBATCH --qos=day\nhostname\n"


@pytest.fixture
def calls(monkeypatch) -> list[tuple[list[str], dict[str, Any]]]:
    """What would have been run; sbatch answers 17."""
    seen = []

    def run_command(argv: list[str], **options: Any) -> str:
        seen.append((argv, options))
        return "17\n" if argv[0] == "sbatch" else "said\n"

    monkeypatch.setattr(commands, "run_command", run_command)
    monkeypatch.setattr(commands, "load_site", lambda: SITE)
    return seen


def test_a_line_is_cut_into_words_and_no_shell_sees_it(calls, capsys) -> None:
    slurm("squeue -o '%i %T' ; rm x")
    assert calls[0][0] == ["squeue", "-o", "%i %T", ";", "rm", "x"]
    assert calls[0][1]["environment"] == {}
    assert capsys.readouterr().out == "said\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rm -rf x", "begin with one of SLURM's commands, sinfo, squeue"),
        ("", "begin with one of SLURM's commands"),
        ("squeue 'x", "No closing quotation"),
    ],
)
def test_other_lines_are_refused(calls, line: str, message: str) -> None:
    with pytest.raises(Answered, match=re.escape(message)):
        reply(line)
    assert calls == []


def test_a_script_is_handed_over_as_text(calls, capsys) -> None:
    assert submit(SCRIPT, "--time=1 --comment 'two words'") == 17
    argv, options = calls[0]
    assert argv == ["sbatch", "--parsable", "--time=1", "--comment", "two words"]
    assert options["text"] == SCRIPT
    assert capsys.readouterr().out == "Submitted batch job 17\n"


def test_the_site_fills_in_what_nobody_wrote(calls) -> None:
    submit(SCRIPT)
    submit(SCRIPT, "-p slow")
    reply("srun hostname")
    said = [options["environment"] for _, options in calls]
    assert said == [
        {"SBATCH_PARTITION": "fast"},
        {},
        {"SLURM_PARTITION": "fast", "SLURM_QOS": "night"},
    ]
    assert site_environment(SITE, "sinfo", set()) == {}


def test_a_gap_is_not_sent(calls) -> None:
    with pytest.raises(Answered, match="line 2 of the script is still a gap"):
        submit('#!/bin/bash\nraise NotImplementedError("Yours to write")\n')
    assert calls == []


@pytest.mark.parametrize(
    ("script", "options", "message"),
    [
        (SCRIPT, "--dependency=afterok:{array}", "the option holds {array}: is the f before"),
        ("#!/bin/bash\n#SBATCH -d afterok:{array}\n", "", "the script holds {array}: is the f"),
    ],
)
def test_an_f_that_is_missing_is_named(calls, script: str, options: str, message: str) -> None:
    with pytest.raises(Answered, match=re.escape(f"not sent: {message}")):
        submit(script, options)
    assert calls == []


def test_braces_of_the_shell_s_own_are_sent(calls) -> None:
    assert submit("#!/bin/bash\n#SBATCH -o ${HOME}\nawk '{print}' {1..3}\n", "--comment={}") == 17


def test_a_refused_line_without_its_f_is_explained(monkeypatch) -> None:
    def refuse(argv: list[str], **options: Any) -> str:
        raise CommandFailed(argv, "scancel: error: Invalid job id {busy}\n")

    monkeypatch.setattr(commands, "run_command", refuse)
    monkeypatch.setattr(commands, "load_site", lambda: SITE)
    with pytest.raises(
        Answered, match=r"Invalid job id \{busy\}\nThe line holds \{busy\}: is the f"
    ):
        slurm("scancel {busy}")


def test_a_refusal_is_slurm_s_words_with_their_meaning_and_no_traceback(monkeypatch) -> None:
    def refuse(argv: list[str], **options: Any) -> str:
        raise CommandFailed(argv, "sbatch: error: QOSMaxSubmitJobPerUserLimit\n")

    monkeypatch.setattr(commands, "run_command", refuse)
    monkeypatch.setattr(commands, "load_site", lambda: SITE)
    with pytest.raises(Answered) as refused:
        submit(SCRIPT)
    (shown,) = refused.value._render_traceback_()
    assert shown.startswith("SLURM refused the job: you have as many jobs in the queue as your QOS")


def test_waiting_prints_changes_only_and_ends_with_the_last_task(monkeypatch, capsys) -> None:
    rounds = iter(
        [
            "20_[0-1]|PENDING|None\n",
            "20_0|RUNNING|None\n20_1|PENDING|QOSMaxJobsPerUserLimit\n",
            "20_0|RUNNING|None\n20_1|PENDING|QOSMaxJobsPerUserLimit\n",
            "20_0|COMPLETED|None\n20_1|FAILED|NonZeroExitCode\n",
        ]
    )
    monkeypatch.setattr(commands, "run_command", lambda *words, **options: next(rounds))
    monkeypatch.setattr(commands, "load_site", lambda: SITE)
    monkeypatch.setattr(commands, "accounting_available", lambda: False)
    monkeypatch.setattr(commands.time, "sleep", lambda seconds: None)
    commands.wait_for(20)
    assert [line.split(" s  ")[1] for line in capsys.readouterr().out.splitlines()] == [
        "20_[0-1] PENDING",
        "20_0 RUNNING, 20_1 PENDING (QOSMaxJobsPerUserLimit)",
        "20_0 COMPLETED, 20_1 FAILED",
    ]


def test_waiting_has_a_limit_and_says_why(monkeypatch) -> None:
    said = "30|PENDING|DependencyNeverSatisfied\n"
    monkeypatch.setattr(commands, "run_command", lambda *words, **options: said)
    monkeypatch.setattr(commands, "load_site", lambda: SITE)
    with pytest.raises(Answered, match=r"not ended after 0 s: 30 PENDING \(DependencyNever"):
        commands.wait_for(30, limit_s=0)
