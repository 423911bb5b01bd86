"""Read a job script as sbatch does: which `#SBATCH` lines count, and which it silently ignores.

    #!/bin/bash                     the first line, or sbatch refuses
    #SBATCH --nodes=2               read, up to the first line that is a command
    srun hostname
    #SBATCH --time=10               a comment like any other: nobody tells you

What is ignored is returned with the reason, because that is the mistake which costs an evening.
A script is text here; nothing in it is run. Source: the manual page sbatch(1), "sbatch allows
certain options", and what SLURM 22.05 did when tried.
"""

import difflib
import re
import shlex
from dataclasses import dataclass

# Long options of sbatch that take a value, and their letters.
_VALUED = {
    "account": "A",
    "array": "a",
    "batch": "",
    "begin": "b",
    "chdir": "D",
    "clusters": "M",
    "comment": "",
    "constraint": "C",
    "container": "",
    "core-spec": "S",
    "cores-per-socket": "",
    "cpu-freq": "",
    "cpus-per-gpu": "",
    "cpus-per-task": "c",
    "deadline": "",
    "delay-boot": "",
    "dependency": "d",
    "distribution": "m",
    "error": "e",
    "exclude": "x",
    "export": "",
    "export-file": "",
    "extra-node-info": "B",
    "gid": "",
    "gpu-bind": "",
    "gpu-freq": "",
    "gpus": "G",
    "gpus-per-node": "",
    "gpus-per-socket": "",
    "gpus-per-task": "",
    "gres": "",
    "gres-flags": "",
    "hint": "",
    "input": "i",
    "job-name": "J",
    "kill-on-invalid-dep": "",
    "licenses": "L",
    "mail-type": "",
    "mail-user": "",
    "mem": "",
    "mem-bind": "",
    "mem-per-cpu": "",
    "mem-per-gpu": "",
    "mincpus": "",
    "network": "",
    "nodefile": "F",
    "nodelist": "w",
    "nodes": "N",
    "ntasks": "n",
    "ntasks-per-core": "",
    "ntasks-per-gpu": "",
    "ntasks-per-node": "",
    "ntasks-per-socket": "",
    "open-mode": "",
    "output": "o",
    "partition": "p",
    "prefer": "",
    "priority": "",
    "profile": "",
    "qos": "q",
    "reservation": "",
    "signal": "",
    "sockets-per-node": "",
    "switches": "",
    "thread-spec": "",
    "threads-per-core": "",
    "time": "t",
    "time-min": "",
    "tmp": "",
    "uid": "",
    "wait-all-nodes": "",
    "wckey": "",
    "wrap": "",
}
_FLAGS = {
    "contiguous": "",
    "exclusive": "",  # or =user
    "get-user-env": "",
    "hold": "H",
    "ignore-pbs": "",
    "nice": "",
    "no-kill": "k",
    "no-requeue": "",
    "overcommit": "O",
    "oversubscribe": "s",
    "parsable": "",
    "quiet": "Q",
    "reboot": "",
    "requeue": "",
    "spread-job": "",
    "test-only": "",
    "use-min-nodes": "",
    "verbose": "v",
    "wait": "W",
}
GAP = "raise NotImplementedError("
"""What stands in a lab where a script's lines are the learner's to write; no line of bash."""
_LONG_OF = {letter: name for name, letter in (_VALUED | _FLAGS).items() if letter}


class NoScript(ValueError):
    """sbatch would refuse the text or one of its options; the message says why and the remedy."""


@dataclass(frozen=True)
class Ignored:
    """A line that looks like an option and is none."""

    line: int
    text: str
    why: str


@dataclass(frozen=True)
class Script:
    """A job script as sbatch understands it."""

    options: dict[str, str]
    """By long name, the last of each: {"nodes": "2", "exclusive": ""}."""
    ignored: tuple[Ignored, ...]
    commands: tuple[str, ...]
    """Lines that bash runs: no comments, no empty lines; continued lines are joined."""


def parse_script(text: str) -> Script:
    """Return what sbatch reads in a job script.

    Raises:
        NoScript: sbatch would refuse it.
    """
    lines = text.split("\n")
    if not lines[0].startswith("#!"):
        first = next((line for line in lines if line.strip()), "")
        raise NoScript(
            "an empty line stands before #!/bin/bash: sbatch wants it first, so begin the text "
            'right behind the quotes, """#!/bin/bash'
            if first.lstrip().startswith("#!")
            else "the first line of a job script must be #!/bin/bash: sbatch refuses it without"
        )
    options: dict[str, str] = {}
    ignored: list[Ignored] = []
    commands: list[str] = []
    continued = False
    for number, line in enumerate(lines[1:], 2):
        if continued:
            commands[-1] += " " + line.removesuffix("\\").strip()
        elif re.match(r"\s*#", line):
            why = _why_ignored(line, bool(commands))
            if why:
                ignored.append(Ignored(number, line.strip(), why))
            elif line.startswith("#SBATCH"):
                options |= parse_options(_words(line[len("#SBATCH") :], number), f"line {number}")
            continue
        elif line.strip():
            commands.append(line.removesuffix("\\").strip())
        else:
            continue
        continued = line.endswith("\\")
    return Script(options, tuple(ignored), tuple(commands))


def _why_ignored(line: str, after_command: bool) -> str:
    """Say why a comment that looks like an option is not read; "" if it is, or looks like none."""
    if not re.match(r"\s*#[\s#]*SBATCH\b", line, flags=re.IGNORECASE):
        return ""
    if not line.startswith("#SBATCH"):
        return "only a line that begins with #SBATCH, in capitals and without a space, is an option"
    if after_command:
        return "it stands after the first command, where SLURM has stopped reading options"
    return ""


def _words(text: str, number: int) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        raise NoScript(f"line {number}: a quote is opened and not closed") from None


def parse_options(words: list[str], where: str) -> dict[str, str]:
    """Return sbatch's options in a line's words, by long name; stop at the first that is none.

    Raises:
        NoScript: an option that sbatch does not know, or one without its value; `where` is named.
    """
    options: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            typed, equals, value = word[2:].partition("=")
            name = _long_name(typed, where)
        elif word.startswith("-") and len(word) > 1:
            if word[1] not in _LONG_OF:
                raise NoScript(f"{where}: sbatch has no option {word[:2]}")
            name, value = _LONG_OF[word[1]], word[2:]
            equals = value
        else:
            break
        if name in _VALUED and not equals:
            if not rest or rest[0].startswith("--"):
                raise NoScript(f"{where}: {word} has no value: write it as {word}=...")
            value = rest.pop(0)
        options[name] = value
    return options


def _long_name(typed: str, where: str) -> str:
    known = [*_VALUED, *_FLAGS]
    if typed in known:
        return typed
    begun = sorted((name for name in known if typed and name.startswith(typed)), key=len)
    if len(begun) == 1:  # as sbatch itself completes a name
        return begun[0]
    near = begun or difflib.get_close_matches(typed, known, n=2)
    meant = f": did you mean --{' or --'.join(near[:3])}?" if near else ""
    raise NoScript(f"{where}: sbatch has no option --{typed[:40]}{meant}")


def parse_time_s(text: str) -> int | None:
    """Return the seconds of `--time` as SLURM reads it; None if it can't.

    minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS.
    """
    match = re.fullmatch(r"(?:(\d{1,6})-)?(\d{1,6})(?::(\d{1,6}))?(?::(\d{1,6}))?", text.strip())
    if match is None:
        return None
    days, *parts = match.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is None:
        hours, minutes, seconds = {
            1: lambda m: (0, m, 0),
            2: lambda m, s: (0, m, s),
            3: lambda h, m, s: (h, m, s),
        }[len(numbers)](*numbers)
    else:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds


def parse_memory_bytes(text: str) -> int | None:
    """Return the bytes of `--mem` as SLURM reads it: MiB without a letter; None if it can't."""
    match = re.fullmatch(r"(\d{1,12})(?:([KMGTkmgt])[Bb]?)?", text.strip())
    if match is None:
        return None
    return int(match[1]) * 1024 ** (" KMGT".index((match[2] or "M").upper()))
