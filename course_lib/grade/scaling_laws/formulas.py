"""The right formulas of lab 12, and those that are wrong in a typical way.

    steps       C / (6 N) tokens, in whole batches; N = 12 l h^2 + V h
    objective   sum of Huber(log(E + A x^-alpha) - log L)
    optimal N   G (C / 6)^(beta / (alpha + beta)), G = (alpha A / (beta B))^(1 / (alpha + beta))

Sources: Kaplan et al. 2020 (arXiv:2001.08361, section 2.1) for 6 N D; Hoffmann et al. 2022
(arXiv:2203.15556, eq. 3 and 4) for the other two.
"""

import math
from collections.abc import Callable, Sequence

from course_lib.grade.mistakes import Mistake


def parameters(num_layers: int, d_model: int, vocab_size: int) -> int:
    """Return the entries of the matrices: blocks and head."""
    return 12 * num_layers * d_model**2 + vocab_size * d_model


def tokens(flops: float, num_layers: int, d_model: int, vocab_size: int) -> float:
    """Return the tokens that a budget pays for."""
    return flops / (6 * parameters(num_layers, d_model, vocab_size))


def steps_for_budget(
    flops: float, num_layers: int, d_model: int, vocab_size: int, batch_tokens: int
) -> int:
    """Return the whole steps that a budget pays for."""
    return math.floor(tokens(flops, num_layers, d_model, vocab_size) / batch_tokens + 1e-9)


def _steps_with(count: Callable[[int, int, int], float], factor: float = 6) -> Callable[..., float]:
    return lambda c, n, h, v, b: math.floor(c / (factor * count(n, h, v)) / b)


STEPS_INPUTS = [(1.5e10, 1, 12, 512, 1024), (9.6e11, 1, 54, 512, 1024), (6e12, 4, 128, 2048, 4096)]
STEPS_INPUTS += [(3.15e23, 96, 12288, 51200, 3_200_000)]
STEPS_HIDDEN = [(7e11, 2, 48, 1000, 512), (4e15, 6, 384, 8192, 8192), (2e10, 1, 16, 300, 640)]
STEPS_HIDDEN += [(5.76e23, 80, 8192, 32000, 1_500_000)]
STEPS_MISTAKES = [
    Mistake(
        lambda c, n, h, v, b: math.ceil(tokens(c, n, h, v) / b),
        "rounded up: the last step costs more than is left. Round down (math.floor, or int)",
    ),
    Mistake(
        lambda c, n, h, v, b: round(tokens(c, n, h, v) / b),
        "rounded to the nearest: where that is up, the budget is overspent. Round down",
    ),
    Mistake(
        lambda c, n, h, v, b: tokens(c, n, h, v) / b,
        "that is no whole number: a run takes whole steps. Round down (math.floor, or int)",
    ),
    Mistake(
        lambda c, n, h, v, b: tokens(c, n, h, v),
        "those are tokens: a step reads batch_tokens of them",
    ),
    Mistake(
        lambda c, n, h, v, b: math.floor(tokens(c, n, h, v)),
        "those are tokens: a step reads batch_tokens of them",
    ),
    Mistake(
        _steps_with(parameters, 2),
        "2 FLOPs for each parameter and token are the forward pass alone: backward costs twice as "
        "much again, 6 in all",
    ),
    Mistake(
        _steps_with(parameters, 8),
        "8 FLOPs would be with everything computed twice: without recomputation it is 6",
    ),
    Mistake(_steps_with(parameters, 1), "the 6 of C = 6 N D is missing"),
    Mistake(
        _steps_with(lambda n, h, v: 12 * n * h**2),
        "the head is left out: its V x h entries are multiplied with every token, and in a small "
        "model they are most of the work",
    ),
    Mistake(
        _steps_with(lambda n, h, v: 12 * n * h**2 + 2 * v * h),
        "V x h is counted twice: the token table is only looked up in, nothing is multiplied with "
        "it. The head counts once",
    ),
    Mistake(
        _steps_with(lambda n, h, v: 12 * h**2 + v * h),
        "only one block is counted: there are num_layers of them",
    ),
    Mistake(
        _steps_with(lambda n, h, v: n * (12 * h**2 + v * h)),
        "the head is counted in every block: there is one, after the last block",
    ),
    Mistake(
        _steps_with(lambda n, h, v: 4 * n * h**2 + v * h),
        "the MLP's two matrices are missing: a block has 4 h^2 entries in attention, 8 h^2 there",
    ),
    Mistake(
        _steps_with(lambda n, h, v: 8 * n * h**2 + v * h),
        "attention's four matrices are missing: a block has 4 h^2 entries there, 8 h^2 in the MLP",
    ),
]


def show_steps(
    flops: float, num_layers: int, d_model: int, vocab_size: int, batch_tokens: int
) -> str:
    """Return the arguments as they would be written."""
    return f"{flops:g}, {num_layers}, {d_model}, {vocab_size}, {batch_tokens}"


Numbers = Sequence[float]


def _law(e: float, a: float, alpha: float, x: float) -> float:
    return e + a * x**-alpha


def _huber(off: float, delta: float) -> float:
    size = abs(off)
    return off**2 / 2 if size <= delta else delta * (size - delta / 2)


def _summed(
    of: Callable[[float, float, float], float], law: Callable[..., float] = _law
) -> Callable[..., float]:
    """Return the sum over runs of `of(law's loss, measured loss, delta)`."""

    def objective(e: float, a: float, alpha: float, x: Numbers, y: Numbers, delta: float) -> float:
        return sum(of(law(e, a, alpha, at), loss, delta) for at, loss in zip(x, y, strict=True))

    return objective


ladder_objective = _summed(lambda law, loss, delta: _huber(math.log(law / loss), delta))
"""The right one."""

_X, _Y = [1.0, 2.0, 4.0, 8.0, 16.0], [4.6, 4.2, 3.9, 3.75, 3.5]
OBJECTIVE_INPUTS = [
    (2.0, 2.5, 0.3, _X, _Y, 0.01),
    (2.0, 2.5, 0.3, _X, _Y, 10.0),
    (2.6, 2.0, 0.25, _X, _Y, 0.01),
    (3.0, 1.0, 0.5, [1.0, 8.0], [4.0, 3.2], 0.02),
]
OBJECTIVE_HIDDEN = [
    (1.5, 3.1, 0.2, [1.0, 3.0, 9.0], [4.5, 4.1, 3.6], 0.003),
    (2.2, 2.2, 0.4, _X, _Y, 0.05),
    (1.7, 0.9, 0.6, [2.0, 5.0, 11.0, 40.0], [2.6, 2.05, 1.9, 1.8], 0.001),
]
OBJECTIVE_MISTAKES = [
    Mistake(
        _summed(lambda law, loss, delta: _huber(law - loss, delta)),
        "the difference of the losses is taken, not of their logarithms: log L counts percents, so "
        "that a small loss is worth as much as a large one",
    ),
    Mistake(
        _summed(lambda law, loss, delta: math.log(law / loss) ** 2 / 2),
        "there is no delta in it: beyond delta Huber's loss grows in a straight line, so that one "
        "bad run cannot pull the law away from all others",
    ),
    Mistake(
        _summed(lambda law, loss, delta: math.log(law / loss) ** 2),
        "those are plain squares: Huber's loss is half of the square, up to delta, and a straight "
        "line beyond",
    ),
    Mistake(
        _summed(lambda law, loss, delta: abs(math.log(law / loss))),
        "those are absolute values: up to delta Huber's loss is half of the square",
    ),
    Mistake(
        _summed(
            lambda law, loss, delta: (
                math.log(law / loss) ** 2 / 2
                if abs(math.log(law / loss)) <= delta
                else abs(math.log(law / loss)) - delta / 2
            )
        ),
        "beyond delta the line has the slope delta, not 1: delta x (|r| - delta / 2). With 1 the "
        "two parts do not meet",
    ),
    Mistake(
        _summed(
            lambda law, loss, delta: (
                math.log(law / loss) ** 2 / 2
                if abs(math.log(law / loss)) <= delta
                else delta * (abs(math.log(law / loss)) - delta)
            )
        ),
        "the two parts do not meet at delta: beyond it is delta x (|r| - delta / 2)",
    ),
    Mistake(
        _summed(
            lambda law, loss, delta: (
                math.log(law / loss) ** 2
                if abs(math.log(law / loss)) <= delta
                else delta * (abs(math.log(law / loss)) - delta / 2)
            )
        ),
        "up to delta it is half of the square: without the half the two parts do not meet",
    ),
    Mistake(
        _summed(
            lambda law, loss, delta: (
                math.log(law / loss) ** 2 / 2
                if math.log(law / loss) <= delta
                else delta * (math.log(law / loss) - delta / 2)
            )
        ),
        "a law that is too low is never beyond delta here: compare the absolute value |r| with "
        "delta",
    ),
    Mistake(
        lambda e, a, alpha, x, y, delta: ladder_objective(e, a, alpha, x, y, delta) / len(x),
        "that is the mean over the runs: the sum is wanted",
    ),
    Mistake(
        _summed(
            lambda law, loss, delta: _huber(math.log(law / loss), delta),
            lambda e, a, alpha, x: e + a * x**alpha,
        ),
        "the exponent lacks its minus: x^alpha grows with the budget, and the loss should fall",
    ),
    Mistake(
        _summed(
            lambda law, loss, delta: _huber(math.log(law / loss), delta),
            lambda e, a, alpha, x: a * x**-alpha,
        ),
        "E is left out: without it the law falls to 0, and no text can be foretold for certain",
    ),
    Mistake(
        _summed(
            lambda law, loss, delta: _huber(math.log(law / loss), delta),
            lambda e, a, alpha, x: (e + a) * x**-alpha,
        ),
        "E falls with the budget here: only A does, E + A x^-alpha",
    ),
    Mistake(
        _summed(lambda law, loss, delta: _huber(math.log10(law / loss), delta)),
        "that is the logarithm to base 10: take the natural one, math.log",
    ),
    Mistake(
        _summed(lambda law, loss, delta: _huber(law / loss - 1, delta)),
        "that is the relative difference: close, but the logarithm treats too high and too low "
        "alike. Take log L - log of the measured loss",
    ),
]


def show_objective(e: float, a: float, alpha: float, x: Numbers, y: Numbers, delta: float) -> str:
    """Return the arguments as they would be written."""
    return f"{e:g}, {a:g}, {alpha:g}, {list(map(float, x))}, {list(map(float, y))}, {delta:g}"


def optimal_parameters(flops: float, A: float, B: float, alpha: float, beta: float) -> float:
    """Return the N of the least loss that a budget can buy (Hoffmann 2022, eq. 4)."""
    return _balance(A, B, alpha, beta) * (flops / 6) ** (beta / (alpha + beta))


def _balance(a: float, b: float, alpha: float, beta: float) -> float:
    return (alpha * a / (beta * b)) ** (1 / (alpha + beta))


OPTIMAL_INPUTS = [
    (3.15e23, 482.01, 2085.43, 0.3478, 0.3658),
    (5.76e23, 406.4, 410.7, 0.34, 0.28),
    (1e12, 20.0, 60.0, 0.25, 0.4),
]
OPTIMAL_HIDDEN = [(1e25, 482.01, 2085.43, 0.3478, 0.3658), (2e18, 350.0, 900.0, 0.3, 0.45)]
OPTIMAL_HIDDEN += [(4e21, 100.0, 100.0, 0.5, 0.5)]
OPTIMAL_MISTAKES = [
    Mistake(
        lambda c, a, b, p, q: (c / 6) ** (p / (p + q)) / _balance(a, b, p, q),
        "those are the tokens: N has beta on top of its exponent, as what data still lose decides "
        "how large the model may be",
    ),
    Mistake(
        lambda c, a, b, p, q: _balance(a, b, p, q) * (c / 6) ** (p / (p + q)),
        "alpha and beta are swapped in the exponent: N grows with C^(beta / (alpha + beta))",
    ),
    Mistake(
        lambda c, a, b, p, q: _balance(a, b, p, q) * c ** (q / (p + q)),
        "the 6 of C = 6 N D is missing: N D is C / 6",
    ),
    Mistake(
        lambda c, a, b, p, q: (c / 6) ** (q / (p + q)),
        "G is left out: with A = B and alpha = beta it would be 1, here it is not",
    ),
    Mistake(
        lambda c, a, b, p, q: (c / 6) ** (q / (p + q)) / _balance(a, b, p, q),
        "G is upside down: where a small model loses more (a larger A), N must be larger",
    ),
    Mistake(
        lambda c, a, b, p, q: (p * a / (q * b)) * (c / 6) ** (q / (p + q)),
        "G lacks its power: it is (alpha A / (beta B)) to the power of 1 / (alpha + beta)",
    ),
    Mistake(
        lambda c, a, b, p, q: (a / b) ** (1 / (p + q)) * (c / 6) ** (q / (p + q)),
        "alpha and beta are left out of G: the derivative of A / N^alpha brings alpha down",
    ),
    Mistake(
        lambda c, a, b, p, q: (q * a / (p * b)) ** (1 / (p + q)) * (c / 6) ** (q / (p + q)),
        "alpha and beta are swapped in G: alpha stands with A, beta with B",
    ),
    Mistake(
        lambda c, a, b, p, q: math.sqrt(c / 6 / 20),
        "that is the rule of thumb of 20 tokens for each parameter: this law says how many itself, "
        "and they change with the budget",
    ),
    Mistake(
        lambda c, a, b, p, q: math.sqrt(c / 120),
        "that is the rule of thumb of 20 tokens for each parameter: this law says how many itself, "
        "and they change with the budget",
    ),
    Mistake(
        lambda c, a, b, p, q: _balance(a, b, p, q) * (c / 2) ** (q / (p + q)),
        "C = 2 N D is the forward pass alone: training costs 6 N D",
    ),
]


def show_optimal(flops: float, A: float, B: float, alpha: float, beta: float) -> str:
    """Return the arguments as they would be written."""
    return f"{flops:g}, {A:g}, {B:g}, {alpha:g}, {beta:g}"
