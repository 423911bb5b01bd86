"""Recognise a mistake by what it does to the gradients.

Most mistakes of data parallelism leave a signature: all gradients off by one factor, every rank
with its own, every rank with rank 0's, all right but a few. `say_what_is_wrong` looks for them and
puts what it finds into words.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.grade.compare import RTOL
from course_lib.grade.trials import ranks_words

Gradients = Mapping[str, Tensor]
ROUNDED = 1e-5
"""A smaller error is no mistake of parallelism but of the number's type."""


@dataclass(frozen=True)
class Suspect:
    """A result that a known mistake leads to, up to a factor."""

    gradients: Gradients
    explain: Callable[[float], str]
    """Called with the factor."""


def say_what_is_wrong(
    before: Sequence[Gradients],
    after: Sequence[Gradients],
    expected: Gradients,
    suspects: Sequence[Suspect],
) -> str | None:
    """Return what is wrong with gradients, or None where all ranks have the expected ones.

    Args:
        before: each rank's own gradients, by name.
        after: what the learner's function made of them.
        expected: what every rank should have.
        suspects: results of known mistakes, the likeliest first.
    """
    n = len(after)
    for rank, gradients in enumerate(after):
        for name in expected:
            if name not in gradients:
                return f"on rank {rank} the gradient of {name} is gone (None)"
            if not bool(torch.isfinite(gradients[name]).all()):
                return f"on rank {rank} the gradient of {name} is not finite (nan or inf)"
    wrong = [[name for name in expected if not _equal(g[name], expected[name])] for g in after]
    if not any(wrong):
        return None
    if n > 1 and all(_all_equal(a, b) for a, b in zip(after, before, strict=True)):
        return (
            "nothing was summed: every rank still has the gradient of its own part of the batch. "
            "The result must stand in p.grad itself: p.grad.copy_(...) or p.grad = ..."
        )
    for suspect in suspects:
        factors = [_factor(gradients, suspect.gradients) for gradients in after]
        if all(is_factor(factor, factors[0]) for factor in factors):
            return suspect.explain(factors[0])
    for source, gradients in enumerate(before):
        if n > 1 and all(_all_equal(mine, gradients) for mine in after):
            return f"every rank has rank {source}'s gradient: it was copied, not summed"
    own = [_factor(mine, before[rank]) for rank, mine in enumerate(after)]
    if n > 1 and all(is_factor(factor, own[0]) for factor in own):
        return (
            f"every rank still has its own gradient, {factor_words(own[0])}, and no sum: "
            "comm.all_reduce sums the very tensor that it is given, and an expression such as "
            "p.grad * 2 is a new one"
        )
    factors = [_factor(gradients, expected) for gradients in after]
    if not any(map(math.isnan, factors)):
        words = ", ".join(factor_words(factor) for factor in factors)
        return f"every rank's gradients are off by a factor of its own (by rank: {words})"
    return _some_wrong(before, after, expected, wrong)


def factor_words(factor: float) -> str:
    """Return "4x too large", "4x too small" or "right"."""
    if is_factor(factor, 1.0):
        return "right"
    if factor <= 0:
        return f"{factor:.4g} times what is right"
    times = max(factor, 1 / factor)
    words = f"{times:,.0f}" if 1e4 <= times < 1e10 else f"{times:.4g}"
    return f"{words}x too {'large' if factor > 1 else 'small'}"


def is_factor(factor: float, value: float) -> bool:
    """Tell whether a factor is a certain one, up to rounding."""
    return math.isclose(factor, value, rel_tol=RTOL)


def total(gradients: Sequence[Gradients], weights: Sequence[float] | None = None) -> Gradients:
    """Return the sum over ranks, each with its weight."""
    weights = weights or [1.0] * len(gradients)
    return {
        name: torch.stack([w * g[name] for w, g in zip(weights, gradients, strict=True)]).sum(0)
        for name in gradients[0]
    }


def names_words(names: Sequence[str]) -> str:
    """Return up to three names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _some_wrong(
    before: Sequence[Gradients],
    after: Sequence[Gradients],
    expected: Gradients,
    wrong: list[list[str]],
) -> str:
    good = [rank for rank, names in enumerate(wrong) if not names]
    bad = [rank for rank, names in enumerate(wrong) if names]
    names = wrong[bad[0]]
    if good:
        return (
            f"{ranks_words(good)} right, but {ranks_words(bad)} wrong "
            f"({names_words(names)}): all ranks need the result"
        )
    if len(names) < len(expected):
        own = all(_equal(after[r][name], before[r][name]) for r in bad for name in wrong[r])
        why = ""
        if own:
            why = " Each rank still has its own there: they were never sent."
        elif names == list(expected)[1:]:
            why = (
                " Only the first is right: what does the first round of your loop leave changed "
                "for the next? What is summed once for all belongs before the loop."
            )
        return (
            f"{len(expected) - len(names)} of {len(expected)} gradients are right, but not "
            f"{names_words(names)}.{why}"
        )
    off = {name: _distance(after[bad[0]][name], expected[name]) for name in names}
    worst = max(off, key=lambda name: off[name])
    if off[worst] < ROUNDED:
        return (
            f"the gradients are right to {-math.log10(off[worst]):.0f} digits only: somewhere they "
            "were float32 on their way. Make new tensors with the gradient's own dtype"
        )
    return (
        f"the gradients are wrong, and by no simple factor: on rank {bad[0]} that of {worst} is "
        f"off by {100 * off[worst]:.3g} %. Is each one put back in its own place?"
    )


def _distance(x: Tensor, y: Tensor) -> float:
    """Return how far x is from y, relative to y's largest number."""
    if x.shape != y.shape:
        return math.inf
    return float((x - y).abs().max() / y.abs().max().clamp(min=1e-300))


def _equal(x: Tensor, y: Tensor) -> bool:
    return _distance(x, y) < RTOL


def _all_equal(mine: Gradients, theirs: Gradients) -> bool:
    return all(_equal(mine[name], theirs[name]) for name in theirs)


def _factor(mine: Gradients, theirs: Gradients) -> float:
    """Return the one factor between all gradients, or nan."""
    x = torch.cat([mine[name].flatten() for name in theirs])
    y = torch.cat([theirs[name].flatten() for name in theirs])
    if x.shape != y.shape or not bool(y.any()):
        return math.nan
    factor = float(x @ y / (y @ y))
    scaled = {name: factor * theirs[name] for name in theirs}
    same = factor != 0 and all(_equal(mine[name], scaled[name]) for name in theirs)
    return factor if same else math.nan
