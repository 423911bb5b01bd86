"""SLURM's command lines in a notebook, as one types them in a terminal.

    slurm("squeue --me")                     prints what the command prints
    reply("squeue -h -j 17 -o %r")           returns it
    job = submit(script, "--time=1")         hands a script's text to sbatch, returns its number
    wait_for(job)                            tells how it goes until it has ended

The site's partition, account, QOS and reservation are put into the environment, where SLURM looks
for what a line or a script does not say. So the same lines run on any site, and what somebody
writes wins. Lab 01 is built of these; no shell is involved, so nothing is expanded or piped.
"""

import contextlib
import re
import shlex
import time

from course_lib.messages import in_lines
from course_lib.slurm.accounting import ask_records
from course_lib.slurm.client import (
    RUNNING,
    WAITING,
    CommandFailed,
    accounting_available,
    job_status,
    run_command,
)
from course_lib.slurm.directives import GAP, NoScript, parse_options, parse_script
from course_lib.slurm.reasons import explain_refusal
from course_lib.slurm.site import Site, load_site

COMMANDS = "sinfo squeue srun sbatch scancel scontrol sacct sacctmgr sprio sshare sstat".split()
LIMIT_S = 120.0
"""How long a command may take: srun waits in the queue first."""
LOOK_LIMIT_S = 15.0
ENDING_LIMIT_S = 150.0
ACCOUNTING_LIMIT_S = 15.0
"""So far accounting may lag behind the controller."""
NO_F = 'is the f before the quotes missing, as in f"..."?'
_NAME_IN_BRACES = re.compile(r"(?<!\$)\{[A-Za-z_]\w*\}")
"""Python would have put a value there; `${NAME}` is the shell's."""
_SETTINGS = ("partition", "account", "qos", "reservation")


class Answered(RuntimeError):
    """SLURM's answer is a no: a notebook shows its words and no traceback."""

    def _render_traceback_(self) -> list[str]:
        """Return what IPython prints in place of a traceback."""
        return [in_lines(str(self))]


def slurm(line: str, *, limit_s: float = LIMIT_S) -> None:
    """Run one of SLURM's commands and print what it says.

    Raises:
        Answered: it is none of SLURM's commands, or ended with an error; the message has its words.
    """
    said = reply(line, limit_s=limit_s).rstrip()
    if said:  # scancel says nothing
        print(said)


def reply(line: str, *, limit_s: float = LIMIT_S) -> str:
    """Run one of SLURM's commands and return what it says.

    Raises:
        Answered: as for `slurm`.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise Answered(f"{line}: {error}") from None
    if not words or words[0] not in COMMANDS:
        raise Answered(f"{line}: begin with one of SLURM's commands, {', '.join(COMMANDS)}")
    try:
        return _run(words, limit_s=limit_s)
    except Answered as answered:
        if name := _NAME_IN_BRACES.search(line):
            raise Answered(f"{answered}\nThe line holds {name[0]}: {NO_F}") from None
        raise


def submit(script: str, options: str = "") -> int:
    """Hand the text of a job script to sbatch; print its answer and return the job's number.

    Args:
        script: begins with #!/bin/bash.
        options: more of sbatch's options, as on its command line; they win over the script's.

    Raises:
        Answered: a gap or a name in braces is left in it, or sbatch refuses; the message has its
            words and what they mean.
    """
    if GAP in script:
        number = script[: script.index(GAP)].count("\n") + 1
        raise Answered(f"not sent: line {number} of the script is still a gap, yours to write")
    directives = [line for line in script.split("\n") if line.startswith("#SBATCH")]
    for where, text in [("the option", options), *(("the script", line) for line in directives)]:
        if name := _NAME_IN_BRACES.search(text):
            raise Answered(f"not sent: {where} holds {name[0]}: {NO_F}")
    job = int(_run(["sbatch", "--parsable", *shlex.split(options)], script).split(";")[0])
    print(f"Submitted batch job {job}")
    return job


def dry_run(script: str) -> str:
    """Let sbatch say when and where a script would start, without submitting it.

    Raises:
        Answered: sbatch would refuse it.
        SlurmError: there is no SLURM here, or it doesn't answer.
    """
    return _run(["sbatch", "--test-only"], script)


def wait_for(*jobs: int, limit_s: float = ENDING_LIMIT_S) -> None:
    """Wait until jobs, or all tasks of arrays, have ended; print each change of their state.

    Raises:
        Answered: they have not ended after `limit_s`; they go on all the same.
    """
    began_s, shown = time.monotonic(), ""
    while True:
        states = [state for job in jobs for state in _states(job)]
        now, waited_s = _grouped(states), time.monotonic() - began_s
        if now != shown:
            print(f"{waited_s:4.0f} s  {now}")
            shown = now
        if not any(state in (*WAITING, *RUNNING) for _, state, _ in states):
            break
        if waited_s > limit_s:
            raise Answered(
                f"not ended after {limit_s:.0f} s: {now}. SLURM goes on without you: run this cell "
                "again later, or scancel what will never start."
            )
        time.sleep(0.5)
    _wait_for_accounting(jobs)


def _states(job: int) -> list[tuple[str, str, str]]:
    """Return number, state and reason of a job, or of each task of an array."""
    try:
        text = _run(["squeue", "-h", "-t", "all", "-j", str(job), "-o", "%i|%T|%r"])
    except Answered:
        text = ""  # the controller has forgotten it
    rows = [line.split("|", 2) for line in text.splitlines()]
    if not rows:
        try:
            status = job_status(job)
        except ValueError as error:
            raise Answered(str(error)) from None
        rows = [[str(job), status.state, ""]]
    # What a job that has started last waited for would only confuse.
    return sorted(
        (number, state, reason if state == "PENDING" and reason != "None" else "")
        for number, state, reason in rows
    )


def _grouped(states: list[tuple[str, str, str]]) -> str:
    """Return the jobs by state: `20_0 20_1 RUNNING, 30 PENDING (Dependency)`."""
    groups: dict[str, list[str]] = {}
    for number, state, reason in states:
        groups.setdefault(f"{state} ({reason})" if reason else state, []).append(number)
    return ", ".join(f"{' '.join(numbers)} {state}" for state, numbers in groups.items())


def _wait_for_accounting(jobs: tuple[int, ...]) -> None:
    if not accounting_available():
        return
    end_s = time.monotonic() + ACCOUNTING_LIMIT_S
    while time.monotonic() < end_s:
        records = [record for job in jobs for record in ask_records(job) or [None]]
        if all(record and record.whole and record.end_s is not None for record in records):
            return
        time.sleep(0.3)


def reason_of(job: int) -> str:
    """Return the word with which SLURM says why a job waits; "" if it does not.

    SLURM looks at its queue every second or two, later on a busy machine; so long this waits.
    """
    end_s = time.monotonic() + LOOK_LIMIT_S
    while True:
        words = reply(f"squeue -h -j {int(job)} -t PD -o %r").split()
        if words != ["None"] or time.monotonic() > end_s:
            return words[0] if words and words != ["None"] else ""
        time.sleep(0.5)


def site_environment(site: Site, command: str, named: set[str]) -> dict[str, str]:
    """Return the variables by which a command learns a site's settings.

    Args:
        site: where partition, account, QOS and reservation come from.
        command: sbatch and srun have some; the others need none.
        named: those that somebody has written: a variable would win over a script.
    """
    prefix = {"sbatch": "SBATCH", "srun": "SLURM"}.get(command)
    settings = {name: getattr(site, name) for name in _SETTINGS if name not in named}
    return {f"{prefix}_{name.upper()}": said for name, said in settings.items() if prefix and said}


def _run(words: list[str], script: str | None = None, *, limit_s: float = LIMIT_S) -> str:
    environment = site_environment(load_site(), words[0], _named(words[1:], script))
    try:
        return run_command(words, timeout_s=limit_s, environment=environment, text=script)
    except CommandFailed as error:
        said = error.stderr.strip()
        raise Answered(explain_refusal(said) if words[0] == "sbatch" else said) from None


def _named(words: list[str], script: str | None) -> set[str]:
    """Return which options somebody has written, on the line or in the script."""
    found: set[str] = set()
    with contextlib.suppress(NoScript):  # sbatch itself will say what is wrong
        found |= set(parse_options(words, "the command line"))
    with contextlib.suppress(NoScript):
        found |= set(parse_script(script or "").options)
    return found
