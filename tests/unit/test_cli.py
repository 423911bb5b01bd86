"""The command line: what it reads, what it refuses, and where it sends itself."""

import os
import subprocess
import sys

import pytest

from course_lib import cli, experiment
from course_lib.presets import nano, tiny
from course_lib.slurm.client import Job, SlurmError


class HandedOver(Exception):
    """Stands for execv, after which nothing of this process is left."""


@pytest.fixture
def outside(monkeypatch, tmp_path):
    """Be outside the class cluster; collect what would be started."""
    monkeypatch.delenv("WORKSHOP_INSIDE", raising=False)
    monkeypatch.delenv("WORKSHOP_SITE", raising=False)
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))
    started: list[list[str]] = []

    def execv(path, argv):
        started.append(argv)
        raise HandedOver

    monkeypatch.setattr(cli.os, "execv", execv)
    return started


@pytest.fixture
def inside(monkeypatch, outside, tmp_path):
    """Be on the login node; collect the runs that would be started."""
    monkeypatch.setenv("WORKSHOP_INSIDE", "1")
    runs = []

    def start_run(run, **words):
        runs.append((run, words))
        return Job(12, tmp_path)

    monkeypatch.setattr(experiment, "start_run", start_run)
    return runs


def test_help_lists_every_command(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in [*cli.CLUSTER_COMMANDS, *cli.RUN_COMMANDS, *cli.CLASS_COMMANDS]:
        assert f"  {name} " in text


def test_help_imports_nothing_heavy():
    program = (
        "import sys; from course_lib import cli; cli.main(['--help']); "
        "print([m for m in ('torch', 'numpy', 'tokenizers', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_command_is_wrong_usage(capsys):
    assert cli.main([]) == 2
    assert "workshop up" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["sumbit"], "no command 'sumbit'. Did you mean submit?"),
        (["submit", "nanno"], "no preset 'nanno'. Did you mean nano? There are: tiny, nano"),
        (["submit"], "name a preset first: workshop submit PRESET"),
        (["submit", "--nodes", "2"], "name a preset first"),
        (["submit", "nano", "--nodes", "99"], "99 nodes, but site class lets a job have 8"),
        (["submit", "nano", "--nodes", "3"], "not a whole number of micro-batches per rank"),
        (["submit", "nano", "--time", "5:00:00"], "time limit 05:00:00, but site class allows"),
        (["submit", "nano", "--time", "soon"], "write whole minutes"),
        (["submit", "nano", "--site", "mars"], "no site 'mars'"),
        (["train", "nano", "--ranks", "3"], "not a whole number of micro-batches per rank"),
    ],
)
def test_mistakes_get_one_clear_line_and_exit_code_2(outside, capsys, args, words):
    assert cli.main(args) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.startswith("workshop ") and len(told.splitlines()) == 1


@pytest.mark.parametrize(
    "args", [["--train.stepz", "3"], ["--train.steps", "-3"], ["--nodes", "two"], ["--nodes"]]
)
def test_wrong_options_are_refused_by_name(outside, capsys, args):
    with pytest.raises(SystemExit) as ended:
        cli.main(["submit", "nano", *args])
    assert ended.value.code == 2
    assert args[0].split(".")[-1].strip("-")[:4] in "".join(capsys.readouterr())


def test_an_unreachable_slurm_is_exit_code_1(inside, monkeypatch, capsys):
    def fail(*args, **words):
        raise SlurmError("no SLURM here")

    monkeypatch.setattr(experiment, "start_run", fail)
    assert cli.main(["submit", "tiny"]) == 1
    assert "workshop submit: no SLURM here" in capsys.readouterr().err


@pytest.mark.parametrize("command", list(cli.CLUSTER_COMMANDS))
def test_cluster_commands_are_handed_to_slurm_env(outside, command):
    with pytest.raises(HandedOver):
        cli.main([command, "--nodes", "3"])
    assert outside == [[sys.executable, "-P", "-m", "slurm_env", command, "--nodes", "3"]]


def test_submit_outside_goes_to_the_login_node_with_absolute_paths(outside, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    args = [
        "submit",
        "nano",
        "--nodes",
        "2",
        "--corpus",
        "my texts",
        "--train.sample-prompt",
        "a b",
    ]
    with pytest.raises(HandedOver):
        cli.main(args)
    ((*start, line),) = outside
    assert start == [sys.executable, "-P", "-m", "slurm_env", "shell", "-c"]
    # the shell on the other side must read the same words
    show = f"python() {{ printf '%s\\n' \"$@\"; }}; {line.replace(sys.executable, 'python', 1)}"
    read = subprocess.run(["bash", "-c", show], capture_output=True, text=True, timeout=20).stdout
    corpus = os.path.join(os.getcwd(), "my texts")
    inside = ["submit", "nano", "--nodes", "2", "--corpus", corpus, "--train.sample-prompt", "a b"]
    assert read.splitlines() == ["-P", "-m", "course_lib.cli", *inside]


@pytest.mark.parametrize("args", [["jobs"], ["watch", "12"]])
def test_the_other_slurm_commands_go_there_too(outside, args):
    with pytest.raises(HandedOver):
        cli.main(args)
    assert outside[0][-1].endswith(" ".join(args))


def test_absolute_paths_of_both_spellings(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    here = os.getcwd()
    assert cli.absolute_paths(["--corpus=a", "--data.corpus", "b", "--name", "c"]) == [
        f"--corpus={here}/a",
        "--data.corpus",
        f"{here}/b",
        "--name",
        "c",
    ]
    assert cli.absolute_paths(["--site", "class", "--site=x.toml"]) == [
        "--site",
        "class",
        f"--site={here}/x.toml",
    ]


def test_another_site_runs_here(outside, monkeypatch, tmp_path):
    site = tmp_path / "mine.toml"
    site.write_text('name = "mine"\nmax_nodes = 2\n')
    seen = []
    monkeypatch.setattr(
        experiment, "start_run", lambda run, **words: seen.append(words) or Job(1, tmp_path)
    )
    assert cli.main(["submit", "tiny", "--site", str(site), "--qos", "fast"]) == 0
    assert seen[0]["site"].name == "mine"
    assert seen[0]["site"].qos == "fast"
    assert outside == []


def test_overrides_reach_the_run(inside, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    args = "submit nano --nodes 2 --ntasks-per-node 2 --time 5 --train.steps 50 --name x"
    assert cli.main([*args.split(), "--corpus", "texts"]) == 0
    ((run, words),) = inside
    assert (run.train.steps, run.name, run.model) == (50, "x", nano().model)
    assert run.data.corpus == os.path.join(os.getcwd(), "texts")
    assert (words["nodes"], words["ntasks_per_node"], words["time_limit_s"]) == (2, 2, 300)
    assert "workshop watch 12" in capsys.readouterr().out


def test_a_preset_alone_is_the_preset(inside):
    assert cli.main(["submit", "tiny"]) == 0
    assert inside[0][0] == tiny()


def test_dry_run_prints_the_script_and_starts_nothing(outside, capsys):
    assert cli.main(["submit", "tiny", "--nodes", "2", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("#!/bin/bash\n")
    assert "#SBATCH --nodes=2\n" in text
    assert outside == []


@pytest.mark.parametrize("words", [["class", "release", "03"], ["submit-lab", "03", "--anyway"]])
def test_commands_of_the_course_are_handed_over_as_they_are(outside, words):
    with pytest.raises(HandedOver):
        cli.main(words)
    assert outside == [[sys.executable, "-P", "-m", "assessments", *words]]
