"""Fit a scaling law to runs: Hoffmann et al. 2022 (arXiv:2203.15556), section 3.3, approach 3.

The law's logarithm is a log-sum-exp, so that A, B and E stay above 0 by themselves:

    log L = LSE(a - alpha log N, b - beta log D, e)       A = e^a, B = e^b, E = e^e

and what is minimised is the sum over runs of the Huber loss (delta 1e-3) of log L - log L_measured:
squares near 0, absolute values beyond, so that a bad run pulls no harder than a mediocre one. The
sum has many minima, hence many starts, which are improved side by side (rows of arrays) by Newton
steps, damped until they descend. The paper used L-BFGS, on a mean so small that it stopped early
(arXiv:2404.10102). Left out on purpose: which runs to leave out, which is for who fits to say.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from course_lib.plan.cases import Array
from course_lib.plan.scaling import ScalingLaw, huber, positive

CONSTANTS = ("A", "B", "E", "alpha", "beta")
LEAST_RUNS = 6
"""One more than there are constants."""
SAME = 0.01
"""Sizes that differ by less than 1 % are one size."""
EXPONENTS = (1e-3, 5.0)
"""Between these alpha and beta are looked for."""
STARTS = np.array([0.05, 0.1, 0.2, 0.3, 0.45, 0.7, 1.0, 1.5])
"""Exponents to start from, each alpha with each beta."""
MOST_STEPS = 300


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """A fitted law, and how good it is."""

    law: ScalingLaw
    """The fitted law."""
    parameters: Array
    """N of each run."""
    tokens: Array
    """D of each run."""
    losses: Array
    """The runs that it was fitted to."""
    delta: float
    """Where Huber's loss turns from squares to a line."""
    objective: float
    """The sum of Huber losses."""
    starts_that_agree: float
    """Share of the starts that ended within 0.1 % of the best objective."""

    @property
    def errors(self) -> Array:
        """Relative error of each run, law / measured - 1: above 0 the law's loss is too high."""
        return self.law.loss(self.parameters, self.tokens) / self.losses - 1

    @property
    def mean_error(self) -> float:
        """Mean size of these errors: 0.005 is half a percent of the loss."""
        return float(np.mean(np.abs(self.errors)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Bootstrap:
    """The laws of many resamples: what the same fit would have said to other draws of the runs."""

    laws: tuple[ScalingLaw, ...]

    def interval(
        self, of: str | Callable[[ScalingLaw], ArrayLike], *, level: float = 0.95
    ) -> tuple[float, float]:
        """Return the bounds of a constant, or of what follows from a law (percentile interval).

        Args:
            of: A, B, E, alpha or beta, or a function such as
                `lambda law: compute_optimal(law, 1e24).tokens_per_parameter`.
            level: share of the resamples between the bounds.
        """
        if isinstance(of, str) and of not in CONSTANTS:
            raise ValueError(f"a law has no {of!r}: ask for {', '.join(CONSTANTS)} or a function")
        if not 0 < level < 1:
            raise ValueError(f"level is {level:g}: a share between 0 and 1, such as 0.95")
        values = [getattr(law, of) if isinstance(of, str) else of(law) for law in self.laws]
        low, high = np.quantile(np.array(values, dtype=float), [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def fit_chinchilla(
    parameters: ArrayLike, tokens: ArrayLike, losses: ArrayLike, *, delta: float = 1e-3
) -> Fit:
    """Fit L = E + A / N^alpha + B / D^beta to runs.

    Args:
        parameters: N of each run.
        tokens: D of each run, trained on once.
        losses: measured loss of each run, nats per token.
        delta: where Huber's loss turns from squares to absolute values, in log loss; large for
            least squares.

    Raises:
        ValueError: too few runs, or runs from which the constants cannot be told apart; the message
            says which, and what to run.
    """
    n, d, measured = _check_runs(parameters, tokens, losses)
    scale = float(positive(delta, "delta"))
    problem = _Problem(np.log(n), np.log(d), np.log(measured), scale)
    theta, objective = problem.minimise(problem.starts(), np.ones((1, len(n))))
    best = int(np.argmin(objective))
    for name, other, exponent in (
        ("alpha", "parameters", theta[best, 3]),
        ("beta", "tokens", theta[best, 4]),
    ):
        if not EXPONENTS[0] < exponent < EXPONENTS[1]:
            raise ValueError(
                f"{name} ran to {exponent:g}: over these {len(n)} runs the loss does not fall with "
                f"{other} as a power does; run a wider range of {other}, and look for bad runs"
            )
    # At an exact fit the objective is rounding, and each start's another.
    near = objective <= 1.001 * objective[best] + 1e-12 * scale**2
    return Fit(
        law=problem.law(theta[best], f"fitted to {len(n)} runs"),
        parameters=n,
        tokens=d,
        losses=measured,
        delta=scale,
        objective=float(objective[best]),
        starts_that_agree=float(np.mean(near)),
    )


def bootstrap(fit: Fit, *, resamples: int = 200, seed: int = 0) -> Bootstrap:
    """Fit again to runs drawn with replacement, as many as there are (Efron 1979).

    Args:
        fit: the fit to all runs; each resample's begins from its law.
        resamples: how often; 200 take a second or so for some hundred runs.
        seed: of the draws; the same seed, the same intervals.
    """
    if resamples < 2:
        raise ValueError(f"{resamples} resamples have no spread: take at least 2, better 200")
    count = len(fit.losses)
    logs = np.log(fit.parameters), np.log(fit.tokens), np.log(fit.losses)
    problem = _Problem(*logs, fit.delta)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)
    start = np.tile(problem.theta(fit.law), (resamples, 1))
    theta, _ = problem.minimise(start, draws.astype(float))
    return Bootstrap(laws=tuple(problem.law(row, "a resample") for row in theta))


def _check_runs(
    parameters: ArrayLike, tokens: ArrayLike, losses: ArrayLike
) -> tuple[Array, Array, Array]:
    n, d, measured = (
        positive(parameters, "parameters"),
        positive(tokens, "tokens"),
        positive(losses, "losses"),
    )
    if n.ndim != 1 or not n.shape == d.shape == measured.shape:
        raise ValueError(
            f"parameters, tokens and losses have shapes {n.shape}, {d.shape} and {measured.shape}: "
            "give three lists of the same length, one entry of each for every run"
        )
    if len(n) < LEAST_RUNS:
        raise ValueError(
            f"{len(n)} runs for 5 constants: at least {LEAST_RUNS} are needed, better 20"
        )
    for values, other, names in ((n, "parameters", "A, alpha"), (d, "tokens", "B, beta")):
        sizes = 1 + int(np.sum(np.diff(np.sort(np.log(values))) > SAME))
        if sizes < 3:
            raise ValueError(
                f"only {sizes} different number(s) of {other}: {names} and E cannot be told apart; "
                f"run at least 3, over a factor of 10"
            )
    if abs(np.corrcoef(np.log(n), np.log(d))[0, 1]) > 1 - 1e-6:
        raise ValueError(
            "parameters and tokens change together in all runs (one line in log N and log D): what "
            "a model loses and what data lose cannot be told apart; vary one with the other fixed"
        )
    return n, d, measured


class _Problem:
    """Runs as centred logarithms, and the sum to minimise over theta = (a, b, e, alpha, beta).

    Theta has a row for each start or resample; a and b belong to the centred logarithms.
    """

    def __init__(self, log_n: Array, log_d: Array, log_loss: Array, delta: float) -> None:
        self.centre = float(np.mean(log_n)), float(np.mean(log_d))
        self.n, self.d = log_n - self.centre[0], log_d - self.centre[1]
        self.log_loss, self.delta = log_loss, delta
        least = float(np.min(log_loss)) - 14  # E of a millionth of the loss is none
        self.low = np.array([least, least, least, EXPONENTS[0], EXPONENTS[0]])
        self.high = np.array([*[float(np.max(log_loss)) + 14] * 3, EXPONENTS[1], EXPONENTS[1]])

    def theta(self, law: ScalingLaw) -> Array:
        a, b = (
            np.log(law.A) - law.alpha * self.centre[0],
            np.log(law.B) - law.beta * self.centre[1],
        )
        e = np.log(law.E) if law.E else self.low[2]
        return np.array([a, b, e, law.alpha, law.beta])

    def law(self, theta: Array, source: str) -> ScalingLaw:
        a, b, e, alpha, beta = (float(value) for value in theta)
        return ScalingLaw(
            A=float(np.exp(a + alpha * self.centre[0])),
            B=float(np.exp(b + beta * self.centre[1])),
            E=float(np.exp(e)),
            alpha=alpha,
            beta=beta,
            source=source,
        )

    def starts(self) -> Array:
        """Return a start for each pair of exponents: A, B and E follow by least squares."""
        rows = []
        loss = np.exp(self.log_loss)
        for alpha in STARTS:
            for beta in STARTS:
                terms = [np.exp(-alpha * self.n), np.exp(-beta * self.d), np.ones_like(loss)]
                columns = np.stack(terms, axis=1) / loss[:, None]
                found = np.linalg.lstsq(columns, np.ones_like(loss), rcond=None)[0]
                a, b, e = np.log(np.maximum(found, 1e-3 * np.min(loss)))
                rows.append([a, b, e, alpha, beta])
        return np.array(rows)

    def minimise(self, theta: Array, weights: Array) -> tuple[Array, Array]:
        """Return the minimum below each start, and the sum there.

        Args:
            theta: (rows, 5).
            weights: (rows or 1, runs): how often a run counts.
        """
        theta = np.clip(theta, self.low, self.high)
        weights = np.broadcast_to(weights, (len(theta), weights.shape[1]))
        value = self._value(theta, weights)
        damping = np.full(len(theta), 1e-2)
        going = np.arange(len(theta))
        for _ in range(MOST_STEPS):
            gradient, curvature, scale = self._slopes(theta[going], weights[going])
            damped = curvature + (damping[going, None] * scale)[..., None] * np.eye(5)
            step = np.linalg.solve(damped, gradient[..., None])[..., 0]
            tried = np.clip(theta[going] - step, self.low, self.high)
            reached = self._value(tried, weights[going])
            better = reached < value[going]
            theta[going[better]], value[going[better]] = tried[better], reached[better]
            damping[going] *= np.where(better, 0.2, 5.0)
            damping[going] = np.maximum(damping[going], 1e-12)
            # A minimum: no step descends any more, and none had more than rounding to win.
            rounding = np.abs(np.sum(gradient * step, axis=1)) < 1e-14 * value[going]
            going = going[(damping[going] < 1e9) & (better | ~rounding)]
            if not going.size:
                break
        return theta, value

    def _terms(self, theta: Array) -> tuple[Array, Array, Array]:
        a, b, e, alpha, beta = theta.T[..., None]
        return a - alpha * self.n, b - beta * self.d, e + 0 * self.n

    def _value(self, theta: Array, weights: Array) -> Array:
        off = np.abs(np.logaddexp.reduce(self._terms(theta)) - self.log_loss)
        return np.sum(weights * huber(off, self.delta), axis=1)

    def _slopes(self, theta: Array, weights: Array) -> tuple[Array, Array, Array]:
        """Return the sum's gradient and second derivatives, and a scale for each constant."""
        terms = self._terms(theta)
        log_law = np.logaddexp.reduce(terms)
        p, q, r = (np.exp(term - log_law) for term in terms)  # each term's share of the loss
        off = log_law - self.log_loss
        pull = weights * np.clip(off, -self.delta, self.delta)
        inside = weights * (np.abs(off) <= self.delta)
        jacobian = np.stack([p, q, r, -self.n * p, -self.d * q], axis=-1)
        transposed = np.swapaxes(jacobian, 1, 2)
        gradient = (transposed @ pull[..., None])[..., 0]
        # A log-sum-exp's second derivatives: sum of share x outer(term') - outer(jacobian).
        curvature = transposed @ ((inside - pull)[..., None] * jacobian)
        for share, own, exponent, at in ((p, 0, 3, self.n), (q, 1, 4, self.d)):
            first, second = np.sum(pull * share * at, axis=1), np.sum(pull * share * at**2, axis=1)
            curvature[:, own, own] += np.sum(pull * share, axis=1)
            curvature[:, exponent, exponent] += second
            curvature[:, own, exponent] -= first
            curvature[:, exponent, own] -= first
        curvature[:, 2, 2] += np.sum(pull * r, axis=1)
        # The curvature of the parabolas that touch each Huber loss from above (always above 0).
        above = weights * self.delta / np.maximum(np.abs(off), self.delta)
        scale = np.sum(above[..., None] * jacobian**2, axis=1)
        return gradient, curvature, scale + 1e-12 * np.max(scale, axis=1, keepdims=True)
