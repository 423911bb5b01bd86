"""IsoFLOP valleys: at a fixed budget the loss over model size has a minimum; where it wanders.

Hoffmann et al. 2022 (arXiv:2203.15556), section 3.2, approach 2: a parabola in log N through the
runs of each budget C, and power laws N = k C^a and D = k' C^b through the minima. No form of
L(N, D) is assumed. A law L = E + A / N^alpha + B / D^beta makes valleys that are no parabolas, as
one side is steeper: k then depends on which sizes were run, but a does not if every budget's sizes
reach equally far to both sides of its minimum. Left out on purpose: approach 1, the envelope of
loss curves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from course_lib.plan.cases import Array
from course_lib.plan.scaling import FLOPS_PER_PARAMETER_AND_TOKEN, Allocation, positive


@dataclass(frozen=True, kw_only=True)
class Valley:
    """The parabola of a budget: loss + curvature x (log N - log of the minimum)^2."""

    flops: float
    """The budget, training FLOPs."""
    parameters: float
    """N at the minimum."""
    tokens: float
    """D at the minimum."""
    loss: float
    """At the minimum, nats per token."""
    curvature: float
    """Nats per token, per square of a natural logarithm."""
    worst_residual: float
    """The largest distance of a run from the parabola, nats per token."""

    def at(self, parameters: ArrayLike) -> Array:
        """Return the parabola's loss for N parameters, in nats per token."""
        away = np.log(positive(parameters, "parameters") / self.parameters)
        return self.loss + self.curvature * away**2


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """y = coefficient x^exponent."""

    coefficient: float
    exponent: float

    def at(self, x: ArrayLike) -> Array:
        """Return y for x: a number of parameters or tokens for a budget in FLOPs, say."""
        return self.coefficient * positive(x, "x") ** self.exponent


@dataclass(frozen=True, kw_only=True)
class IsoFlopLaw:
    """What the minima of several budgets say."""

    parameters: PowerLaw
    """N over C; Hoffmann 2022 found an exponent of 0.49 in this way."""
    tokens: PowerLaw
    """D over C; 0.51."""

    def optimal(self, flops: ArrayLike) -> Allocation:
        """Return the parameters and tokens for a budget in FLOPs."""
        return Allocation(self.parameters.at(flops), self.tokens.at(flops))


def isoflop_valley(
    parameters: ArrayLike,
    losses: ArrayLike,
    *,
    flops: float,
    flops_per_token: ArrayLike | None = None,
) -> Valley:
    """Fit a parabola in log N to the runs of one budget, by least squares.

    Args:
        parameters: N of each run.
        losses: final loss of each, nats per token.
        flops: the budget that each run spent, training FLOPs C.
        flops_per_token: training FLOPs of a token of each run; 6 N unless given. The tokens at the
            minimum follow by interpolation.

    Raises:
        ValueError: too few sizes, or no valley between them; the message says what to run.
    """
    n, measured = positive(parameters, "parameters"), positive(losses, "losses")
    budget = float(positive(flops, "flops"))
    if n.ndim != 1 or n.shape != measured.shape:
        raise ValueError(
            f"parameters and losses have shapes {n.shape} and {measured.shape}: give two lists of "
            "the same length, one entry of each for every run"
        )
    if len(np.unique(n)) < 3:
        raise ValueError(
            f"{len(np.unique(n))} model size(s) at {budget:.3g} FLOPs: a parabola takes 3, and 5 "
            "to see how well it fits"
        )
    centre = float(np.mean(np.log(n)))
    log_n = np.log(n) - centre
    parabola = np.polyfit(log_n, measured, 2)
    curvature, slope = float(parabola[0]), float(parabola[1])
    if curvature <= 0:
        raise ValueError(
            f"the losses at {budget:.3g} FLOPs make no valley, they bend downwards over log N: run "
            "a wider range of sizes, and check that each run spent the whole budget"
        )
    lowest = -slope / (2 * curvature)
    if not log_n.min() <= lowest <= log_n.max():
        side = "smaller" if lowest < log_n.min() else "larger"
        raise ValueError(
            f"the valley at {budget:.3g} FLOPs has its minimum at {np.exp(lowest + centre):.3g} "
            f"parameters, outside of the sizes that were run ({n.min():.3g} to {n.max():.3g}): run "
            f"{side} models"
        )
    found = float(np.exp(lowest + centre))
    cost = FLOPS_PER_PARAMETER_AND_TOKEN * found
    if flops_per_token is not None:
        costs = positive(flops_per_token, "flops_per_token")
        if costs.shape != n.shape:
            raise ValueError(f"flops_per_token has shape {costs.shape}, parameters {n.shape}")
        order = np.argsort(n)
        cost = float(np.exp(np.interp(lowest, log_n[order], np.log(costs[order]))))
    return Valley(
        flops=budget,
        parameters=found,
        tokens=budget / cost,
        loss=float(np.polyval(parabola, lowest)),
        curvature=curvature,
        worst_residual=float(np.max(np.abs(np.polyval(parabola, log_n) - measured))),
    )


def isoflop_law(valleys: Sequence[Valley]) -> IsoFlopLaw:
    """Fit power laws of the budget to the minima, by least squares of logarithms.

    Raises:
        ValueError: fewer than two budgets.
    """
    budgets = [valley.flops for valley in valleys]
    return IsoFlopLaw(
        parameters=power_law(budgets, [valley.parameters for valley in valleys]),
        tokens=power_law(budgets, [valley.tokens for valley in valleys]),
    )


def power_law(x: ArrayLike, y: ArrayLike) -> PowerLaw:
    """Fit y = k x^p by least squares of log y over log x.

    Raises:
        ValueError: different lengths, or fewer than two different x.
    """
    at, values = positive(x, "x"), positive(y, "y")
    if at.ndim != 1 or at.shape != values.shape:
        raise ValueError(f"x and y have shapes {at.shape} and {values.shape}: one y for each x")
    if len(np.unique(at)) < 2:
        raise ValueError(f"a power law takes points at 2 different x, better 3; here is {at.size}")
    exponent, constant = np.polyfit(np.log(at), np.log(values), 1)
    return PowerLaw(coefficient=float(np.exp(constant)), exponent=float(exponent))
