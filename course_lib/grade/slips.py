"""Recognise a mistake by the numbers that it leads to.

A function that counts something (parameters, FLOPs, bytes, days) is tried on several cases. A known
mistake, here a slip, changes the right number in a way that is known too: it leaves a part out,
counts one twice, forgets a factor. Where one slip, or two together, explain what was returned in
every case, the learner is told that, and not only that the number is wrong.

It is the counterpart of signatures.py, which does the same for gradients.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from course_lib.grade.checks import CheckFailed
from course_lib.grade.signatures import factor_words
from course_lib.grade.trials import on_ranks
from course_lib.parallel.mesh import Mesh

Case = tuple[Any, ...]
"""The arguments of one call."""
CLOSE = 1e-9
LARGEST = 1e40
"""No count of this workshop comes near; and Python's whole numbers know no end."""


@dataclass(frozen=True)
class Slip:
    """A known mistake."""

    words: str
    """What to ask or say: it follows a colon."""
    change: Callable[..., float]
    """change(right, *case) is what the mistake makes of the right number."""


def forgotten(words: str, part: Callable[..., float]) -> Slip:
    """Return the slip that leaves out part(*case)."""
    return Slip(words, lambda right, *case: right - part(*case))


def added(words: str, part: Callable[..., float]) -> Slip:
    """Return the slip that counts part(*case) once too often."""
    return Slip(words, lambda right, *case: right + part(*case))


def scaled(words: str, factor: Callable[..., float]) -> Slip:
    """Return the slip that multiplies by factor(*case)."""
    return Slip(words, lambda right, *case: right * factor(*case))


def numbers_of(
    function: Callable[..., float], cases: Sequence[Case], *, limit_s: float | None = None
) -> list[float]:
    """Return the number that a learner's function gives for each case; it runs in its own process.

    Raises:
        CheckFailed: it raised, ended, did not return in time, or returned no number.
    """
    [values] = on_ranks(_call_each, 1, function=function, limit_s=limit_s, cases=list(cases))
    if type(values) is not list or len(values) != len(cases):
        raise CheckFailed("what came back are no numbers")
    # Once more, here: the ranks are the learner's process.
    return [plain_number(value) for value in values]


def _call_each(mesh: Mesh, cases: Sequence[Case], function: Callable[..., float]) -> list[float]:
    return [plain_number(function(*case)) for case in cases]


def plain_number(value: Any, who: str = "your function returned") -> float:
    """Return a number as Python's own, also one of numpy or torch.

    Raises:
        CheckFailed: it is none, or none that is finite.
    """
    if type(value).__module__ in ("numpy", "torch") and getattr(value, "shape", None) == ():
        value = value.item()
    if value is None:
        raise CheckFailed(f"{who} None: it must end with return and the number")
    if type(value) not in (int, float):
        raise CheckFailed(f"{who} an object of type {type(value).__name__}: a number is wanted")
    if value != value or not -LARGEST < value < LARGEST:
        words = "no finite number (nan or inf)" if type(value) is float else "far too large"
        raise CheckFailed(f"{who} a number that is {words}")
    return value


def wrong_numbers(
    results: Sequence[float],
    expected: Sequence[float],
    cases: Sequence[Case],
    slips: Sequence[Slip],
    names: Sequence[str],
    *,
    what: str = "your function returned",
) -> str | None:
    """Return what is wrong with a function's results, or None if all are right.

    Args:
        results: by case, as `numbers_of` gives them.
        expected: the right ones.
        cases: what the function was called with.
        slips: known mistakes, the likeliest first.
        names: of the function's arguments, for the message.
        what: what was returned, with a verb.
    """
    wrong = [n for n in range(len(cases)) if not _close(results[n], expected[n])]
    if not wrong:
        return None
    first = wrong[0]
    why = _explain(results, expected, cases, slips)
    return (
        f"with {case_words(names, cases[first])} {what} {number_words(results[first])}. That is "
        f"{off_words(results[first], expected[first])}" + (f": {why}" if why else "")
    )


def _explain(
    results: Sequence[float],
    expected: Sequence[float],
    cases: Sequence[Case],
    slips: Sequence[Slip],
) -> str:
    for count in (1, 2):
        for chosen in itertools.combinations(slips, count):
            for order in itertools.permutations(chosen):
                if all(
                    _close(_slipped(right, case, order), result)
                    for result, right, case in zip(results, expected, cases, strict=True)
                ):
                    return _joined([slip.words for slip in chosen])
    return ""


def _joined(words: Sequence[str]) -> str:
    sentences = [each if each.endswith("?") else f"{each}." for each in words]
    return " And: ".join(sentences).removesuffix(".")


def _slipped(right: float, case: Case, slips: Sequence[Slip]) -> float:
    for slip in slips:
        right = slip.change(right, *case)
    return right


def case_words(names: Sequence[str], case: Case) -> str:
    """Return a call's arguments with their names."""
    return ", ".join(
        f"{name}={value}" if isinstance(value, str | bool) else f"{name}={number_words(value)}"
        for name, value in zip(names, case, strict=True)
    )


def number_words(value: float) -> str:
    """Return a number as a person would write it: 1,071,872 or 3.27e+11 or 0.25."""
    if value == int(value) and abs(value) < 1e10:
        return f"{int(value):,}"
    return f"{value:.4g}"


def off_words(value: float, right: float) -> str:
    """Say by how much a number is off: as a difference where it is a small one, else a factor."""
    if right and value and abs(math.log2(abs(value / right))) > 0.75 or value * right < 0:
        return factor_words(value / right)
    difference = abs(value - right)
    return f"{number_words(difference)} too {'much' if value > right else 'little'}"


def _close(value: float, right: float) -> bool:
    return math.isclose(value, right, rel_tol=CLOSE, abs_tol=1e-300)
