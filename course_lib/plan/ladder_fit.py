"""A scaling law of one variable, for a ladder of runs: the loss over the training budget.

    L(x) = E + A x^-alpha        x = C / C_1, training FLOPs in units of the first rung's

A law of two variables (scaling.py) takes runs in which either varies. Where the rungs differ in one
thing, as in the text that one model reads, three constants are left, which five runs can fix: E is
what no budget removes, A / N^alpha of the other law included; A what the first rung loses above
it. It is the form by which GPT-4's loss was foretold (OpenAI 2023, arXiv:2303.08774, section 3.1).
What is minimised is an argument; lab 12's learners write it. The interval tells what other seeds
would have said: each loss is moved by the noise of a run, and fitted again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from course_lib.plan.cases import Array
from course_lib.plan.scaling import huber, positive

Objective = Callable[[float, float, float, Sequence[float], Sequence[float], float], float]
"""objective(E, A, alpha, budgets, losses, delta): what a fit makes small."""
LEAST_RUNGS = 4
"""One more than there are constants."""
DELTA = 0.02
"""Where Huber's loss turns from squares to absolute values, in log loss: several times what two
seeds are apart, so that only a run that went wrong counts less."""
STARTS = (0.1, 0.2, 0.35, 0.6, 1.0)
"""Exponents to start from."""
SMALLEST_E = 1e-3
"""Nats; as good as none."""
MOST_STEPS = 400


@dataclass(frozen=True, kw_only=True)
class LadderLaw:
    """L = E + A x^-alpha, in nats per token; x is the budget over the first rung's."""

    E: float
    A: float
    alpha: float

    def __str__(self) -> str:
        return f"L = {self.E:.3f} + {self.A:.3f} x^-{self.alpha:.3f}"

    def loss(self, budgets: ArrayLike) -> Array:
        """Return L, in nats per token, for budgets in units of the first rung's."""
        return self.E + self.A * positive(budgets, "budgets") ** -self.alpha


def huber_objective(
    E: float,
    A: float,
    alpha: float,
    budgets: Sequence[float],
    losses: Sequence[float],
    delta: float,
) -> float:
    """Return the sum of Huber losses of log L - log L_measured, without unit.

    Source: Hoffmann et al. 2022 (arXiv:2203.15556), eq. 3.
    """
    off = np.abs(np.log(E + A * np.asarray(budgets) ** -alpha) - np.log(losses))
    return float(np.sum(huber(off, delta)))


def fit_ladder(
    budgets: ArrayLike,
    losses: ArrayLike,
    objective: Objective = huber_objective,
    *,
    delta: float = DELTA,
) -> LadderLaw:
    """Return the law for which the objective is smallest.

    Args:
        budgets: training FLOPs of each rung over those of the first.
        losses: held-out loss of each, nats per token.
        objective: what to minimise.
        delta: handed on to it.

    Raises:
        ValueError: too few rungs, or losses that do not fall with the budget.
    """
    x, measured = positive(budgets, "budgets"), positive(losses, "losses")
    if x.ndim != 1 or x.shape != measured.shape:
        raise ValueError(f"budgets and losses have shapes {x.shape} and {measured.shape}")
    if len(np.unique(x)) < LEAST_RUNGS:
        raise ValueError(
            f"{len(np.unique(x))} budgets for 3 constants: at least {LEAST_RUNGS} are needed"
        )
    if np.polyfit(np.log(x), np.log(measured), 1)[0] >= 0:
        raise ValueError("the loss does not fall with the budget: no law of this form fits")
    starts = [_start(x, measured, alpha) for alpha in STARTS]
    return _minimised(starts, x, measured, objective, delta)


def refit_with_noise(
    law: LadderLaw,
    budgets: ArrayLike,
    losses: ArrayLike,
    objective: Objective = huber_objective,
    *,
    noise: float,
    resamples: int = 200,
    seed: int = 0,
    delta: float = DELTA,
) -> list[LadderLaw]:
    """Return the laws of resampled ladders: each loss moved by the noise of a run (bootstrap).

    Args:
        law: fitted to the ladder; each fit begins from it.
        budgets: as for `fit_ladder`.
        losses: as for `fit_ladder`.
        objective: as for `fit_ladder`.
        noise: by how much of its loss a run is off, one standard deviation.
        resamples: how often.
        seed: of the noise; the same seed, the same laws.
        delta: as for `fit_ladder`.
    """
    x, measured = positive(budgets, "budgets"), positive(losses, "losses")
    moved = np.exp(noise * np.random.default_rng(seed).standard_normal((resamples, len(x))))
    return [_minimised([law], x, measured * each, objective, delta) for each in moved]


def interval(
    laws: Sequence[LadderLaw], budget: float, *, level: float = 0.9
) -> tuple[float, float]:
    """Return the bounds between which a share of the laws puts the loss of a budget."""
    losses = [float(law.loss(budget)) for law in laws]
    low, high = np.quantile(losses, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _start(x: Array, losses: Array, alpha: float) -> LadderLaw:
    """Return E and A for a given exponent, by least squares of relative errors."""
    columns = np.stack([np.ones_like(x), x**-alpha], axis=1) / losses[:, None]
    e, a = np.linalg.lstsq(columns, np.ones_like(x), rcond=None)[0]
    return LadderLaw(E=max(float(e), 0.05), A=max(float(a), 0.05), alpha=alpha)


def _minimised(
    starts: Sequence[LadderLaw], x: Array, losses: Array, objective: Objective, delta: float
) -> LadderLaw:
    budgets, measured = x.tolist(), losses.tolist()

    def law(theta: Array) -> LadderLaw:
        e, a, alpha = np.exp(theta)
        return LadderLaw(E=float(e), A=float(a), alpha=float(alpha))

    def value(theta: Array) -> float:
        at = law(theta)
        return objective(at.E, at.A, at.alpha, budgets, measured, delta)

    ends = []
    for start in starts:
        theta = np.log([max(start.E, SMALLEST_E), start.A, start.alpha])
        ends.append(_downhill(value, theta))
    return law(min(ends, key=lambda end: end[0])[1])


def _downhill(value: Callable[[Array], float], start: Array) -> tuple[float, Array]:
    """Return the least value found from a start, and where: the simplex of Nelder and Mead 1965.

    Without slopes, so that any objective will do. Logarithms of the constants are moved, which so
    stay above 0 and within bounds.
    """
    low, high = np.log([SMALLEST_E, 1e-3, 1e-2]), np.log([50.0, 50.0, 3.0])
    count = len(start)
    points = np.clip(np.vstack([start, start + 0.2 * np.eye(count)]), low, high)
    values = np.array([value(point) for point in points])
    for _ in range(MOST_STEPS):
        order = np.argsort(values)
        points, values = points[order], values[order]
        if np.max(np.abs(points[1:] - points[0])) < 1e-6:
            break
        centre, worst = points[:-1].mean(axis=0), points[-1]

        def tried(factor: float, centre: Array = centre, worst: Array = worst):
            point = np.clip(centre + factor * (worst - centre), low, high)
            return value(point), point

        reached, point = tried(-1.0)
        if reached < values[0]:
            further = tried(-2.0)
            reached, point = further if further[0] < reached else (reached, point)
        elif reached >= values[-2]:
            reached, point = tried(-0.5 if reached < values[-1] else 0.5)
        if reached < values[-1]:
            values[-1], points[-1] = reached, point
        else:
            points[1:] = points[0] + 0.5 * (points[1:] - points[0])
            values[1:] = [value(each) for each in points[1:]]
    best = int(np.argmin(values))
    return float(values[best]), points[best]
