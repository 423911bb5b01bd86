"""Job scripts are read as sbatch reads them: what counts, what is ignored, what is refused."""

import re

import pytest

from course_lib.slurm.directives import (
    NoScript,
    parse_memory_bytes,
    parse_options,
    parse_script,
    parse_time_s,
)

SCRIPT = """#!/bin/bash
#SBATCH --nodes=2 --job-name="two words" # and why
#SBATCH -t 5 -n4 --exclusive
## SBATCH --qos=never
# an ordinary comment
#SBATCH --nodes 3

srun --label \\
    hostname # of every rank
#SBATCH --mem=1G
echo "#SBATCH --time=7"
"""


def test_options_count_up_to_the_first_command_and_the_last_one_wins() -> None:
    script = parse_script(SCRIPT)
    assert script.options == {
        "nodes": "3",
        "job-name": "two words",
        "time": "5",
        "ntasks": "4",
        "exclusive": "",
    }
    assert script.commands == (
        "srun --label hostname # of every rank",
        'echo "#SBATCH --time=7"',
    )


def test_what_is_ignored_is_named_with_its_line_and_why() -> None:
    commented, late = parse_script(SCRIPT).ignored
    assert (commented.line, commented.text) == (4, "## SBATCH --qos=never")
    assert "without a space" in commented.why
    assert (late.line, late.text) == (10, "#SBATCH --mem=1G")
    assert "after the first command" in late.why


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line of a job script must be #!/bin/bash"),
        ("\n#!/bin/bash\n", "an empty line stands before #!/bin/bash"),
        ("#!/bin/bash\n#SBATCH --notes=2", "line 2: sbatch has no option --notes: did you mean"),
        ("#!/bin/bash\n#SBATCH --ntasks-per", "no option --ntasks-per: did you mean --ntasks-per-"),
        ("#!/bin/bash\n#SBATCH -Z 2", "line 2: sbatch has no option -Z"),
        ("#!/bin/bash\n#SBATCH --time", "line 2: --time has no value: write it as --time=..."),
        ("#!/bin/bash\n#SBATCH -N", "line 2: -N has no value"),
        ("#!/bin/bash\n#SBATCH --comment='x", "line 2: a quote is opened and not closed"),
    ],
)
def test_what_sbatch_refuses_is_named(text: str, message: str) -> None:
    with pytest.raises(NoScript, match=re.escape(message)):
        parse_script(text)


def test_a_command_line_is_read_up_to_its_script() -> None:
    words = "--parsable -dafterok:17 --sig B:USR1@10 job.sh --nodes=9".split()
    assert parse_options(words, "the line") == {
        "parsable": "",
        "dependency": "afterok:17",
        "signal": "B:USR1@10",
    }


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 300),
        ("5:00", 300),
        ("00:05", 5),
        ("1:00:00", 3600),
        ("1-2", 93600),
        ("1-2:3", 93780),
        ("1-2:3:4", 93784),
        ("5m", None),
        ("", None),
        ("1:2:3:4", None),
        ("-5", None),
    ],
)
def test_times(text: str, seconds: int | None) -> None:
    assert parse_time_s(text) == seconds


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("500", 500 * 2**20),
        ("500M", 500 * 2**20),
        ("2G", 2**31),
        ("4096k", 2**22),
        ("1T", 2**40),
        ("500MB", 500 * 2**20),
        ("500MiB", None),
        ("0.5G", None),
        ("", None),
    ],
)
def test_memory(text: str, size_bytes: int | None) -> None:
    assert parse_memory_bytes(text) == size_bytes


def test_a_long_script_is_read_in_a_moment() -> None:
    script = parse_script("#!/bin/bash\n" + "#SBATCH --nodes=2\n" * 5000 + "# SBATCH " * 5000)
    assert script.options == {"nodes": "2"}
