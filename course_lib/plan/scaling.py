"""Scaling laws: what loss so many parameters and tokens give, and how to spend a budget. No torch.

    L(N, D) = E + A / N^alpha + B / D^beta       Hoffmann et al. 2022 (arXiv:2203.15556), eq. 2

N parameters, D training tokens, L in nats per token, C = 6 N D training FLOPs. E is what no model
can do better, A / N^alpha what a finite model loses, B / D^beta what finite data loses. Lab 12
fits such a law to runs of its own (scaling_fit.py) and plans with it. Left out on purpose: mixture
of experts, learning-rate schedules, and downstream scores.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from course_lib.plan.cases import Array

FLOPS_PER_PARAMETER_AND_TOKEN = 6
"""Forward and backward: C = 6 N D (Kaplan et al. 2020, section 2.1)."""
FORWARD_FLOPS = 2
"""Of these, a token that is only read or written costs 2."""
PF_DAY = 1e15 * 86_400
"""FLOPs of a petaflop per second, for a day."""


class Allocation(NamedTuple):
    """How a budget is spent."""

    parameters: Array
    """N."""
    tokens: Array
    """D."""

    @property
    def tokens_per_parameter(self) -> Array:
        """D / N; the rule of thumb is 20."""
        return self.tokens / self.parameters


class Law(Protocol):
    """Whatever says what loss to expect."""

    def loss(self, parameters: ArrayLike, tokens: ArrayLike) -> Array:
        """Return the loss, in nats per token."""
        ...


@dataclass(frozen=True, kw_only=True)
class ScalingLaw:
    """L = E + A / N^alpha + B / D^beta, in nats per token."""

    A: float
    B: float
    E: float
    alpha: float
    beta: float
    source: str = ""
    """Paper and table, or what it was fitted to."""

    def __post_init__(self) -> None:
        for name in ("A", "B", "alpha", "beta"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value:g}: in a law that falls it is above 0")
        if not (np.isfinite(self.E) and self.E >= 0):
            raise ValueError(f"E is {self.E:g}: the loss that remains cannot be below 0")

    def __str__(self) -> str:
        return (
            f"L = {self.E:.4g} + {self.A:.4g} / N^{self.alpha:.3f} + "
            f"{self.B:.4g} / D^{self.beta:.3f}"
        )

    def loss(self, parameters: ArrayLike, tokens: ArrayLike) -> Array:
        """Return L for N parameters and D tokens, in nats per token (Hoffmann 2022, eq. 2)."""
        n, d = positive(parameters, "parameters"), positive(tokens, "tokens")
        return self.E + self.A * n**-self.alpha + self.B * d**-self.beta

    def tokens_for(self, parameters: ArrayLike, loss: ArrayLike) -> Array:
        """Return the tokens after which N parameters reach a loss: eq. 2 solved for D.

        D = (B / (L - E - A / N^alpha))^(1 / beta)

        Raises:
            ValueError: the model is too small ever to get there; the message says how large.
        """
        n, wanted = positive(parameters, "parameters"), positive(loss, "loss")
        for_data = wanted - self.E - self.A * n**-self.alpha
        if np.any(for_data <= 0):
            worst = float(np.min(wanted))
            if worst <= self.E:
                raise ValueError(f"a loss of {worst:.4g} is below E = {self.E:.4g}, for any model")
            least = (self.A / (worst - self.E)) ** (1 / self.alpha)
            raise ValueError(
                f"{float(np.min(n)):.4g} parameters never reach a loss of {worst:.4g}: that takes "
                f"more than {least:.4g}, however many tokens there are"
            )
        return (self.B / for_data) ** (1 / self.beta)


def huber(off: Array, delta: float) -> Array:
    """Return Huber's loss of absolute errors, without unit: squares up to delta, then a line.

    Source: Hoffmann et al. 2022 (arXiv:2203.15556), eq. 3.
    """
    return np.where(off <= delta, off**2 / 2, delta * (off - delta / 2))


def positive(values: ArrayLike, name: str) -> Array:
    """Return numbers as an array.

    Raises:
        ValueError: one of them is not a number above 0; the message says which.
    """
    array = np.asarray(values, dtype=float)
    wrong = np.flatnonzero(~(np.isfinite(array) & (array > 0)))
    if wrong.size:
        where = f"[{wrong[0]}]" if array.ndim else ""
        raise ValueError(
            f"{name}{where} is {array.flat[wrong[0]]:g}: it must be a finite number above 0 "
            "(leave out runs that diverged or did not end)"
        )
    return array


def compute_optimal(
    law: Law, flops: ArrayLike, *, flops_per_token: Callable[[Array], Array] | None = None
) -> Allocation:
    """Return the parameters and tokens of the least loss that so many training FLOPs can buy.

    With C = 6 N D and a ScalingLaw in closed form (Hoffmann 2022, eq. 4):

        N = G (C / 6)^(beta / (alpha + beta))      G = (alpha A / (beta B))^(1 / (alpha + beta))
        D = (C / 6)^(alpha / (alpha + beta)) / G

    Any other law, or count, is searched over N, to about 1e-7 of it.

    Args:
        law: a ScalingLaw, or anything with a `loss`.
        flops: training FLOPs C, one budget or many.
        flops_per_token: training FLOPs of a token for N parameters (an array), where 6 N is too
            coarse; plan/counts.py counts exactly.

    Raises:
        ValueError: no minimum between one parameter and one token per budget.
    """
    budget = positive(flops, "flops")
    if isinstance(law, ScalingLaw) and flops_per_token is None:
        product = budget / FLOPS_PER_PARAMETER_AND_TOKEN
        balance = _balance(law)
        share = law.beta / (law.alpha + law.beta)
        return Allocation(balance * product**share, product ** (1 - share) / balance)

    def tokens(n: Array) -> Array:
        return budget[..., None] / (
            FLOPS_PER_PARAMETER_AND_TOKEN * n if flops_per_token is None else flops_per_token(n)
        )

    low, high = np.zeros(budget.shape), np.log(budget / FLOPS_PER_PARAMETER_AND_TOKEN)
    for points in (1001, 101, 101, 101, 101):  # each time between the neighbours of the best
        grid = np.linspace(low, high, points, axis=-1)
        best = np.argmin(law.loss(np.exp(grid), tokens(np.exp(grid))), axis=-1)[..., None]
        if points > 101 and np.any((best == 0) | (best == points - 1)):
            raise ValueError(
                "the loss has no minimum between 1 parameter and 1 token: check the law, and that "
                "flops_per_token grows with the parameters"
            )
        low = np.take_along_axis(grid, np.maximum(best - 1, 0), axis=-1)[..., 0]
        high = np.take_along_axis(grid, np.minimum(best + 1, points - 1), axis=-1)[..., 0]
    found = np.exp((low + high) / 2)
    return Allocation(found, tokens(found[..., None])[..., 0][()])  # of one budget: a number


def _balance(law: ScalingLaw) -> float:
    return (law.alpha * law.A / (law.beta * law.B)) ** (1 / (law.alpha + law.beta))


@dataclass(frozen=True, kw_only=True)
class OverTraining:
    """A smaller model that was trained for longer, to the loss of the compute-optimal one."""

    parameters: Array
    """N."""
    tokens: Array
    """D that it needs."""
    loss: Array
    """That both reach, nats per token."""
    optimal: Allocation
    """What reaches the same loss with the fewest FLOPs."""

    @property
    def extra_flops(self) -> Array:
        """Training FLOPs above the compute-optimal ones: 6 (N D - N_opt D_opt)."""
        optimal = self.optimal.parameters * self.optimal.tokens
        return FLOPS_PER_PARAMETER_AND_TOKEN * (self.parameters * self.tokens - optimal)

    @property
    def extra(self) -> Array:
        """Extra training FLOPs as a share: 0.2 is 20 % more."""
        return self.parameters * self.tokens / (self.optimal.parameters * self.optimal.tokens) - 1

    @property
    def break_even_tokens(self) -> Array:
        """Tokens served after which training and serving together cost less than the optimum.

        extra training FLOPs / (2 (N_opt - N)), as serving costs 2 N a token; whether a GPU serves
        as efficiently as it trains is another matter (Sardana and Frankle 2023, arXiv:2401.00448).
        """
        return self.extra_flops / (FORWARD_FLOPS * (self.optimal.parameters - self.parameters))


def overtrain(law: ScalingLaw, flops: ArrayLike, *, shrink: ArrayLike) -> OverTraining:
    """Return what a model of `shrink` times the compute-optimal size costs at equal loss.

    Args:
        law: a fitted or published law.
        flops: training FLOPs of the compute-optimal model (C = 6 N D).
        shrink: parameters over the compute-optimal ones, between 0 and 1.

    Raises:
        ValueError: so small a model never gets there; the message says how large it has to be.
    """
    share = positive(shrink, "shrink")
    if np.any(share >= 1):
        raise ValueError(f"shrink is {np.max(share):g}: a smaller model is below 1")
    optimal = compute_optimal(law, flops)
    loss = law.loss(*optimal)
    parameters = share * optimal.parameters
    tokens = law.tokens_for(parameters, loss)
    return OverTraining(parameters=parameters, tokens=tokens, loss=loss, optimal=optimal)


@dataclass(frozen=True, kw_only=True)
class DataLimited:
    """A law where there are only so many tokens, so that they are trained on again and again.

    Muennighoff et al. 2023 (arXiv:2305.16264), section 3.1: tokens that were seen before, and
    parameters beyond those that the unique tokens can use, are worth less and less:

        D' = U + U R* (1 - e^(-R / R*))     R = D / U - 1 repetitions of U unique tokens
        L = E + A / N'^alpha + B / D'^beta

    N' likewise, from the parameters for which U would be compute-optimal. The decays were fitted
    together with MUENNIGHOFF_2023 on C4, one to 500 epochs; with another law they are a guess. The
    law only flattens: that too many epochs do harm is not in it.
    """

    law: ScalingLaw
    unique_tokens: float
    """Tokens that there are."""
    data_decay: float = 15.387756
    """R*_D: repetitions after which a token is worth 1 / e of a new one (appendix A)."""
    parameter_decay: float = 5.309743
    """R*_N: the same of parameters."""

    def __post_init__(self) -> None:
        for name in ("unique_tokens", "data_decay", "parameter_decay"):
            positive(getattr(self, name), name)

    def effective_tokens(self, tokens: ArrayLike) -> Array:
        """Return D': the unique tokens that would teach as much."""
        seen = positive(tokens, "tokens")
        return _decayed(seen, np.minimum(seen, self.unique_tokens), self.data_decay)

    def effective_parameters(self, parameters: ArrayLike, tokens: ArrayLike) -> Array:
        """Return N': the parameters that would do as much with tokens enough."""
        n, seen = positive(parameters, "parameters"), positive(tokens, "tokens")
        balance = _balance(self.law)
        unique = np.minimum(seen, self.unique_tokens)
        usable = balance * (balance * unique) ** (self.law.beta / self.law.alpha)
        return _decayed(n, np.minimum(n, usable), self.parameter_decay)

    def loss(self, parameters: ArrayLike, tokens: ArrayLike) -> Array:
        """Return L for N parameters and D tokens, repetitions included, in nats per token."""
        worth = self.effective_parameters(parameters, tokens), self.effective_tokens(tokens)
        return self.law.loss(*worth)


def _decayed(used: Array, unique: Array, decay: float) -> Array:
    return unique * (1 - decay * np.expm1(-(used / unique - 1) / decay))


@dataclass(frozen=True, kw_only=True)
class KaplanLaw:
    """L = ((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D, in nats per token.

    Kaplan et al. 2020 (arXiv:2001.08361), eq. 1.5. N leaves out embeddings, and training ends when
    the held-out loss is lowest: D is how much data there is, not how much was computed.
    """

    N_c: float
    D_c: float
    alpha_N: float
    alpha_D: float
    source: str = ""
    """Paper and equation."""

    def loss(self, parameters: ArrayLike, tokens: ArrayLike) -> Array:
        """Return L for N parameters without embeddings and a data set of D tokens (eq. 1.5)."""
        n, d = positive(parameters, "parameters"), positive(tokens, "tokens")
        return ((self.N_c / n) ** (self.alpha_N / self.alpha_D) + self.D_c / d) ** self.alpha_D


KAPLAN_2020 = KaplanLaw(
    N_c=6.4e13, D_c=1.8e13, alpha_N=0.076, alpha_D=0.103, source="arXiv:2001.08361, table 2"
)


def kaplan_optimal(flops: ArrayLike) -> Allocation:
    """Return what Kaplan et al. advised: N = 1.3e9 C^0.73, D = 2e10 C^0.27, C in PF-days.

    arXiv:2001.08361, appendix A, compute-efficient values; N leaves out embeddings. They come from
    fits to training curves, not from eq. 1.5, and ask for far larger models than Hoffmann's law;
    Pearce and Song 2024 (arXiv:2406.12907) trace most of that to the embeddings left out.
    """
    pf_days = positive(flops, "flops") / PF_DAY
    return Allocation(1.3e9 * pf_days**0.73, 2e10 * pf_days**0.27)


HOFFMANN_2022 = ScalingLaw(
    A=406.401018, B=410.722827, E=1.69337368, alpha=0.33917084, beta=0.2849083,
    source="arXiv:2203.15556, approach 3, digits of its TeX source",
)  # fmt: skip
HOFFMANN_2022_ROUNDED = ScalingLaw(
    A=406.4, B=410.7, E=1.69, alpha=0.34, beta=0.28,
    source="arXiv:2203.15556, eq. 10, as printed: the rounded exponents move the optimum",
)  # fmt: skip
BESIROGLU_2024 = ScalingLaw(
    A=482.01, B=2085.43, E=1.8172, alpha=0.3478, beta=0.3658,
    source="arXiv:2404.10102 (Epoch AI), the same runs read off the paper's figure 4",
)  # fmt: skip
MUENNIGHOFF_2023 = ScalingLaw(
    A=520.825, B=1487.716, E=1.86914, alpha=0.3526596, beta=0.3526596,
    source="arXiv:2305.16264, appendices A and B: e^a, e^b, e^e fitted on C4 with one exponent",
)  # fmt: skip
PUBLISHED = {
    "Hoffmann 2022": HOFFMANN_2022,
    "Hoffmann 2022, rounded": HOFFMANN_2022_ROUNDED,
    "Besiroglu 2024 (Epoch)": BESIROGLU_2024,
    "Muennighoff 2023": MUENNIGHOFF_2023,
}
"""Fits of the same form, by name. Different data and tokenizers: losses do not compare."""
