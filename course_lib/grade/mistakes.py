"""A learner's formula: called with several inputs in a rank, and held against the right numbers.

Most mistakes in a formula have a signature: a function that would make the same mistake gives the
same numbers, for every input. `wrong_numbers` tries such functions one after the other and says
what the first that fits has done. What comes back from a learner's function is made a plain number
in the rank itself: nothing with an == of its own, nothing endless, gets out.
"""

import contextlib
import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from course_lib.grade.checks import CheckFailed, Lab
from course_lib.grade.trials import on_ranks, patience_s
from course_lib.parallel.mesh import Mesh

RTOL = 1e-6
"""A formula is right to more digits than that, in whatever order it is computed."""
CALL_COLUMNS = 50
"""Arguments longer than that are left out of a message."""


def require_plain(results: Any, count: int, numbers: int) -> list[Any]:
    """Return results that came from a rank, once it is sure that they are plain numbers.

    The rank was the learner's process: what it says of itself is no proof.
    """
    rows = results if type(results) is list and len(results) == count else [None]
    for row in rows:
        entries = row if type(row) is tuple and numbers > 1 else (row,)
        if [type(entry) for entry in entries] != [float] * numbers:
            raise CheckFailed("what came back are no numbers")
    return results


@dataclass(frozen=True)
class Mistake:
    """What a known mistake would return, and how to say so."""

    does: Callable[..., Any]
    """Takes what the learner's function takes."""
    words: str


def call_on_each(
    mesh: Mesh, inputs: Sequence[tuple[Any, ...]], numbers: int, function: Callable
) -> list[Any]:
    """Return what the learner's function returns for each input, as plain numbers.

    Args:
        inputs: the arguments of each call.
        numbers: how many it returns; more than one is a tuple.
    """
    results = []
    for arguments in inputs:
        given = copy.deepcopy(arguments)
        value = function(*given)
        if value is None:
            raise CheckFailed(_nothing(arguments))
        if given != arguments:
            raise CheckFailed(
                "your function changes what it was given: whoever calls it still needs it. Make a "
                "new list, if you need another one"
            )
        results.append(_plain(value) if numbers == 1 else _plain_numbers(value, numbers))
    return results


def _plain_numbers(value: Any, numbers: int) -> tuple[float, ...]:
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == (numbers,):
        value = value.tolist()
    if not isinstance(value, tuple | list):
        raise CheckFailed(
            f"what your function returned is of type {type(value).__name__}: return {numbers} "
            "numbers, as in: return a, b"
        )
    if len(value) != numbers:
        raise CheckFailed(f"your function returned {len(value)} numbers, and {numbers} are wanted")
    return tuple(_plain(entry) for entry in value)


def _nothing(arguments: tuple[Any, ...]) -> str:
    call = ", ".join(map(repr, arguments))
    given = f" for ({call})" if len(call) <= CALL_COLUMNS else ""
    return (
        f"your function returned None{given}: does its last line begin with `return`, and does it "
        "return something for every input?"
    )


def _plain(value: Any) -> float:
    if type(value).__module__ in ("numpy", "torch"):
        with contextlib.suppress(ValueError, RuntimeError, AttributeError):  # no single number
            value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CheckFailed(
            f"your function returned an object of type {type(value).__name__}, and a number is "
            "wanted"
        )
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise CheckFailed(f"your function returned {number}, which is no number to go on with")
    return number


def wrong_numbers(
    name: str,
    inputs: Sequence[tuple[Any, ...]],
    results: Sequence[float],
    right: Callable[..., float],
    mistakes: Sequence[Mistake],
    show: Callable[..., str],
) -> str | None:
    """Return what is wrong with a formula's results, or None.

    Args:
        name: of the learner's function.
        inputs: the arguments of each call.
        results: what it returned for them.
        right: the right formula.
        mistakes: the likeliest first.
        show: an input in words, as its call would be written.
    """
    wanted = [right(*arguments) for arguments in inputs]
    wrong = [not _close(x, y) for x, y in zip(results, wanted, strict=True)]
    if not any(wrong):
        return None
    first = wrong.index(True)
    example = f"{name}({show(*inputs[first])}) is {_shown(results[first])}"
    example += f", and {_shown(wanted[first])} is right"
    for mistake in mistakes:
        would_be = [_or_nan(mistake.does, arguments) for arguments in inputs]
        if all(_close(x, y) for x, y in zip(results, would_be, strict=True)):
            return f"{mistake.words}\n    {example}"
    good = len(wrong) - sum(wrong)
    some = f" ({good} of {len(wrong)} inputs come out right)" if good else ""
    factor = results[first] / wanted[first] if wanted[first] else math.nan
    same = all(y and _close(x / y, factor) for x, y in zip(results, wanted, strict=True))
    off = f": always {factor_words(factor)}" if same else ""
    return f"{example}{off}{some}"


def factor_words(factor: float) -> str:
    """Return "2x too large" or "2x too small"."""
    if factor <= 0:
        return f"{factor:.4g} times what is right"
    return f"{factor:.4g}x too large" if factor > 1 else f"{1 / factor:.4g}x too small"


def _or_nan(function: Callable[..., float], arguments: tuple[Any, ...]) -> float:
    try:
        return function(*arguments)
    except (ArithmeticError, ValueError):  # a mistake may divide by 0
        return math.nan


def _close(x: float, y: float) -> bool:
    return math.isclose(x, y, rel_tol=RTOL, abs_tol=1e-15)


def _shown(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 1e4 and abs(number) < 1e12 else f"{number:.6g}"


def results_of(
    function: Callable[..., Any],
    inputs: Sequence[tuple[Any, ...]],
    *,
    numbers: int,
    hidden: bool,
    limit_s: float | None,
) -> list[Any]:
    """Call a learner's function with each of the inputs, in a rank.

    Args:
        function: the learner's.
        inputs: the arguments of each call.
        numbers: how many it is to return.
        hidden: the tests are hidden ones, which wait longer.
        limit_s: seconds to wait, where the caller knows better.

    Raises:
        CheckFailed: it fails, takes too long, or returns something else.
    """
    [results] = on_ranks(
        call_on_each,
        1,
        function=function,
        limit_s=patience_s(hidden, limit_s),
        inputs=inputs,
        numbers=numbers,
    )
    return require_plain(results, len(inputs), numbers)


def check_formula(
    lab: Lab,
    name: str,
    function: Callable[..., Any],
    inputs: Sequence[tuple[Any, ...]],
    right: Callable[..., float],
    mistakes: Sequence[Mistake],
    show: Callable[..., str],
    proved: str,
    *,
    hidden: bool,
    limit_s: float | None,
) -> None:
    """Check a function that returns one number, for all inputs.

    Args:
        lab: the lab that the exercise belongs to.
        name: the exercise's.
        function: the learner's.
        inputs: the arguments of each call.
        right: what it should do.
        mistakes: what it may do instead.
        show: words for a call, its result and the right one.
        proved: what is said of a right function.
        hidden: the tests are hidden ones.
        limit_s: seconds to wait, where the caller knows better.

    Raises:
        CheckFailed: says what is wrong.
    """

    def prove() -> str:
        results = results_of(function, inputs, numbers=1, hidden=hidden, limit_s=limit_s)
        wrong = wrong_numbers(name, inputs, results, right, mistakes, show)
        if wrong:
            raise CheckFailed(wrong)
        return proved

    lab.check(name, function, prove, hidden=hidden)
