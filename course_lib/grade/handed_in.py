"""Answers that are no functions: written down in a small file beside the notebook.

    hand_in("over_memory", job=17, state="OUT_OF_MEMORY")     in the lab, where the job was sent
    answers.read("over_memory")                               under the exercise, and while grading

Grading runs a notebook where there is no SLURM, so that nothing which a cell submits can be judged
there. What was handed in is: the file travels with the notebook, and accounting knows the job. The
file is a claim and its owner may write anything into it. So reading follows no link, waits for no
pipe, takes no more than SIZE_BYTES, and lets only the types through that the exercise asks for.
"""

import json
import math
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.grade.checks import CheckFailed
from course_lib.runlog import write_json

SIZE_BYTES = 200_000
TEXT_CHARACTERS = 20_000
MAX_JOB = 2**31
MAX_NUMBERS = 100


@dataclass(frozen=True)
class Answers:
    """What a lab lets learners hand in, and where it lies."""

    file: str
    """Its name in the notebook's own folder, which is the current one."""
    wanted: Mapping[str, Mapping[str, type]]
    """By exercise: what it consists of: int (a job's number), str, or dict (numbers by name)."""

    def write(self, exercise: str, **values: object) -> None:
        """Write an answer down; the one before it is replaced.

        Raises:
            CheckFailed: there is no such exercise, or something is missing or of a wrong type.
        """
        if exercise not in self.wanted:
            raise CheckFailed(f"one hands in {', '.join(self.wanted)}; not {exercise!r}")
        answer = self._checked(exercise, values)
        try:
            every = self._read_file()
        except CheckFailed as failure:
            print(f"(Begun anew: {failure})")
            every = {}
        write_json(Path(self.file), every | {exercise: answer})
        shown = ", ".join(f"{name} {_shown(value)}" for name, value in answer.items())
        print(f"Handed in for {exercise}: {shown}")

    def read(self, exercise: str) -> dict[str, Any]:
        """Return an answer, whose names and types are those wanted.

        Raises:
            CheckFailed: nothing was handed in, or the file is none that `write` has written.
        """
        every = self._read_file()
        if exercise not in every:
            raise CheckFailed(f"nothing is handed in yet. {self._usage(exercise)}")
        if not isinstance(every[exercise], dict):
            raise CheckFailed(f"{self.file} was not written by hand_in: run the cell above again")
        return self._checked(exercise, every[exercise])

    def _usage(self, exercise: str) -> str:
        named = {int: "17", str: '"..."', dict: '{"...": 1.5}'}
        words = [f"{name}={named[kind]}" for name, kind in self.wanted[exercise].items()]
        return f'Write: hand_in("{exercise}", {", ".join(words)})'

    def _checked(self, exercise: str, values: Mapping[str, object]) -> dict[str, Any]:
        wanted = self.wanted[exercise]
        if set(values) != set(wanted):
            missing = [name for name in wanted if name not in values]
            odd = [str(name)[:40] for name in values if name not in wanted]
            what = f"{' and '.join(missing)} missing" if missing else f"there is no {odd[0]!r} here"
            raise CheckFailed(f"{what}. {self._usage(exercise)}")
        read = {int: _job, str: _text, dict: _numbers}
        return {name: read[kind](name, values[name]) for name, kind in wanted.items()}

    def _read_file(self) -> dict[str, Any]:
        try:
            text = read_plain_file(self.file)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise CheckFailed(
                f"{self.file} cannot be read ({error.strerror}); it must be an ordinary file, as "
                "hand_in writes it"
            ) from None
        try:
            every = json.loads(text)
        except (ValueError, RecursionError):
            every = None
        if not isinstance(every, dict):
            raise CheckFailed(f"{self.file} was not written by hand_in: delete it, hand in again")
        return every


def read_plain_file(path: str | Path, limit_bytes: int = SIZE_BYTES) -> str:
    """Return the text of a regular file; OSError with the reason if it is none or too large."""
    # Neither a link to somewhere else nor a pipe that never ends.
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as file:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(0, "it is no ordinary file")
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise OSError(0, f"it is larger than {limit_bytes // 1000} kB, which no answer is")
    return data.decode("utf-8", errors="replace")


def _job(name: str, value: object) -> int:
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and re.fullmatch(r"\d{1,10}", text, flags=re.ASCII):
        text = int(text)
    if type(text) is not int or not 0 < text < MAX_JOB:
        raise CheckFailed(
            f"{name} is the number that sbatch answered, as in {name}=17; it is {_shown(value)}"
        )
    return text


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise CheckFailed(f'{name} is a text, as in {name}="..."; it is {_shown(value)}')
    if len(value) > TEXT_CHARACTERS:
        raise CheckFailed(
            f"{name} has {len(value):,} characters, and {TEXT_CHARACTERS:,} are the most: hand in "
            "the script alone"
        )
    return str(value)


def _numbers(name: str, value: object) -> dict[str, float]:
    """Return numbers by name, as Python's own."""
    example = f'as in {name}={{"...": 1.5}}'
    if not isinstance(value, dict):
        raise CheckFailed(f"{name} is a dict of numbers, {example}; it is {_shown(value)}")
    if len(value) > MAX_NUMBERS:
        raise CheckFailed(f"{name} has {len(value):,} entries, and {MAX_NUMBERS} are the most")
    numbers = {}
    for key, entry in value.items():
        if type(key) is not str or len(key) > 60:
            raise CheckFailed(f"{name} has an entry whose name is {_shown(key)}, not a short text")
        # A number of numpy's or torch's is welcome, a text or a truth is not.
        try:
            plain = isinstance(entry, str | bytes | bool)
            number = math.nan if plain else float(entry)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise CheckFailed(f"{name}[{key!r}] is no number but {_shown(entry)}")
        numbers[key] = number
    return numbers


def _shown(value: object) -> str:
    """Return a value in one short line, whatever it is."""
    if isinstance(value, str):
        first, *more = value.strip().split("\n")
        lines = "1 line" if len(more) == 1 else f"{len(more)} lines"
        return f"{first[:40]!r}" + (f" and {lines} more" if more else "")
    if isinstance(value, dict):
        return f"{len(value)} numbers" if len(value) != 1 else "1 number"
    return str(value) if type(value) is int and abs(value) < 10**12 else f"a {type(value).__name__}"
