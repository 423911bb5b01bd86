"""Alpha and beta from measurements: made-up links whose two numbers are known, and typical fits.

The measurements have an error in proportion to themselves, a few percent, as real ones have. So the
error of the largest message is longer than a small message takes, and a fit in which seconds count,
instead of percents, gets the latency wrong by any factor and often below 0.
"""

import math
from collections.abc import Sequence

ALPHA_TOLERANCE, BETA_TOLERANCE = 0.20, 0.10
"""How far off a fit may be; a weighted one is within 4 % of both, for every link below."""
SIZES = tuple(64 * 8**power for power in range(7))  # 64 bytes to 16 MiB
ERRORS = (
    (0.05, 0.04, -0.02, -0.06, 0.02, -0.05, 0.05),
    (-0.05, -0.04, 0.05, 0.06, -0.03, 0.05, -0.05),
    (0.04, 0.05, -0.04, -0.05, 0.03, 0.06, -0.05),
)
VISIBLE = ((0.4e-3, 8.3e-9), (1.1e-3, 0.84e-7), (25e-6, 4.2e-11))
"""(alpha, beta) of links like 1 Gbit/s, 100 Mbit/s and InfiniBand."""
HIDDEN = ((2.2e-3, 3.1e-8), (60e-6, 0.9e-9), (0.7e-3, 2.4e-7))


def measurements(links: Sequence[tuple[float, float]], *, backwards: bool) -> list[tuple]:
    """Return (sizes, seconds) for each link, which has errors of its own."""
    rows = []
    for (alpha_s, beta), errors in zip(links, ERRORS, strict=True):
        times = [
            (alpha_s + size * beta) * (1 + error) for size, error in zip(SIZES, errors, strict=True)
        ]
        order = slice(None, None, -1) if backwards else slice(None)
        rows.append((list(SIZES)[order], times[order]))
    return rows


def wrong_fit(
    link: tuple[float, float], fitted: tuple[float, float], sizes: list[int], seconds: list[float]
) -> str | None:
    """Return what is wrong with (alpha, beta), or None where they are good enough."""
    (alpha_s, beta), (got_alpha, got_beta) = link, fitted
    good_alpha = _within(got_alpha, alpha_s, ALPHA_TOLERANCE)
    good_beta = _within(got_beta, beta, BETA_TOLERANCE)
    if good_alpha and good_beta:
        return None
    if _within(got_alpha, beta, BETA_TOLERANCE) and _within(got_beta, alpha_s, ALPHA_TOLERANCE):
        return "the two are swapped: return alpha first, then beta"
    if _within(got_beta, alpha_s, 0.5) and not good_beta:
        return "the second number is alpha: return alpha first, then beta"
    if got_beta and _within(1 / got_beta, beta, BETA_TOLERANCE):
        return (
            "the second number is a bandwidth, bytes per second. beta is what one byte costs: "
            "seconds per byte, its inverse"
        )
    if got_alpha == 0:
        return (
            "alpha is 0: that is a line through the origin. A message without content takes time, "
            "too"
        )
    plain = weighted_line(sizes, seconds, [1.0] * len(sizes))
    if _same(fitted, plain):
        return (
            f"alpha is {got_alpha * 1e3:.3g} ms, and {alpha_s * 1e3:.3g} ms was built in. Plain "
            "least squares counts seconds: the error of the largest message alone is longer than "
            "alpha. Count percents: weigh each point by 1 / seconds"
        )
    twice = weighted_line(sizes, seconds, [1 / t**4 for t in seconds])
    if _same(fitted, twice):
        return (
            f"beta is off by {_percent(got_beta, beta)}: the weights were squared twice. polyfit "
            "multiplies with w before it squares, so w is 1 / seconds, not 1 / seconds**2"
        )
    for factor, words in ((1e3, "milliseconds"), (1e6, "microseconds")):
        if _within(got_alpha, factor * alpha_s, ALPHA_TOLERANCE) and good_beta:
            return f"alpha is in {words}: return seconds"
    for factor, words in ((8, "8x too large"), (1 / 8, "8x too small")):
        if _within(got_beta, factor * beta, BETA_TOLERANCE):
            return f"beta is {words}: bits or bytes? beta is seconds per byte"
    logs = weighted_line(
        [math.log(size) for size in sizes], [math.log(t) for t in seconds], [1.0] * len(sizes)
    )
    if _same(fitted, (math.exp(logs[0]), logs[1])) or _same(fitted, logs):
        return (
            "that is a line through the logarithms: there a power of the size is fitted, and not "
            "alpha + size x beta"
        )
    name, got, right = ("beta", got_beta, beta) if good_alpha else ("alpha", got_alpha, alpha_s)
    unit = "s per byte" if name == "beta" else "s"
    tolerance = BETA_TOLERANCE if name == "beta" else ALPHA_TOLERANCE
    return (
        f"{name} is {got:.3g} {unit}, and {right:.3g} was built in: off by {_percent(got, right)}, "
        f"and {tolerance:.0%} would do. Do small messages count as much as large ones?"
    )


def weighted_line(
    at: Sequence[float], values: Sequence[float], weights: Sequence[float]
) -> tuple[float, float]:
    """Return (value at 0, slope) of the line with the least weighted sum of squares."""
    points = list(zip(at, values, weights, strict=True))
    total = sum(weights)
    mean_x = sum(w * x for x, _, w in points) / total
    mean_y = sum(w * y for _, y, w in points) / total
    slope = sum(w * (x - mean_x) * (y - mean_y) for x, y, w in points) / sum(
        w * (x - mean_x) ** 2 for x, _, w in points
    )
    return mean_y - slope * mean_x, slope


def _within(x: float, y: float, tolerance: float) -> bool:
    return abs(x - y) <= tolerance * abs(y)


def _same(fitted: tuple[float, float], line: tuple[float, float]) -> bool:
    return all(_within(x, y, 1e-3) for x, y in zip(fitted, line, strict=True))


def _percent(got: float, right: float) -> str:
    return f"{abs(got / right - 1):.0%}"
