"""Measure messages, matrix products and copies: what a planner computes with.

A time is the median over rounds; a round repeats a call for 50 ms without a pause, and counts the
slowest rank. Rounds are long because a token bucket (tc tbf, as on the class cluster's links) lets
the first 256 kB after a pause through at once: only a call in a row of many meets the link's rate.
And the rounds of all sizes take turns, so that a moment in which the machine is busy with something
else spoils one round of many sizes and not all rounds of one. Times over bytes are then fitted with

    time = alpha + bytes sent x beta        bytes as in parallel/comm.py: those that leave a rank

How ranks wait for each other comes in as two arguments, `barrier` and `largest`: this file knows of
no network. The collectives themselves are called in train/messages.py.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from course_lib.plan.calibration import AlphaBeta, Gemm
from course_lib.profile.timing import synchronize

SIZES_BYTES = tuple(2**power for power in (10, 12, 14, 17, 20, 22, 24, 26))
"""1 KiB to 64 MiB; three small ones, as only these tell alpha, and any one may be spoilt."""
MOST_CALLS = 4096
"""Calls in a round, at most."""
MODEL_ERROR = 0.2
"""A point this far off is no outlier yet: no real network is quite a line. Where nearly all points
are on one, the single small message that tells alpha would else be the first to be ignored."""
COPY_BYTES = 2**27
"""More than the caches of a node's processor hold."""
RECTANGLES = ((256, 128, 512), (1024, 384, 1536), (1024, 1536, 384), (1024, 384, 8192))
"""(m, k, n) as in a transformer: into and out of an MLP, and to the vocabulary."""
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}

Largest = Callable[[list[float]], list[float]]
"""Gives each number's maximum over the ranks."""


def time_calls(
    calls: Sequence[Callable[[], object]],
    *,
    barrier: Callable[[], object] = lambda: None,
    largest: Largest = lambda values: values,
    round_s: float = 0.05,
    budget_s: float = 2.0,
) -> list[float]:
    """Return how long each call takes on the slowest rank, in seconds: medians of 3 to 5 rounds.

    Args:
        calls: what to time; all ranks make each call equally often, in this order.
        barrier: waits for all ranks.
        largest: maximum over the ranks.
        round_s: how long a round lasts at least, in seconds.
        budget_s: a call whose rounds take longer than this has fewer of them, but always 3.
    """

    def time_round(call: Callable[[], object], num_calls: int) -> float:
        barrier()
        start_s = time.perf_counter()
        for _ in range(num_calls):
            call()
        return time.perf_counter() - start_s

    nums_calls, rounds = [], []
    for call in calls:
        # As timeit does it: twice as many calls until they last. This also warms everything up.
        num_calls = 1
        (elapsed_s,) = largest([time_round(call, num_calls)])
        while elapsed_s < round_s and num_calls < MOST_CALLS:
            num_calls *= 2
            (elapsed_s,) = largest([time_round(call, num_calls)])
        nums_calls.append(num_calls)
        rounds.append(max(3, min(5, int(budget_s / max(elapsed_s, 1e-9)))))
    times_s: list[list[float]] = [[] for _ in calls]
    for number in range(max(rounds)):
        for index, call in enumerate(calls):
            if number < rounds[index]:
                times_s[index].append(time_round(call, nums_calls[index]))
    return [
        statistics.median(largest(each)) / num_calls
        for each, num_calls in zip(times_s, nums_calls, strict=True)
    ]


def fit_alpha_beta(bytes_sent: Sequence[int], time_s: Sequence[float]) -> AlphaBeta:
    """Fit time = alpha + bytes x beta, where relative errors count: a small message as a large one.

    Weighted least squares with weights 1 / time^2, repeated with Huber's weights, so that a point
    which a busy machine has spoilt pulls less. Neither alpha nor beta is negative.

    Raises:
        ValueError: fewer than two different sizes, or a time that is not above 0.
    """
    if len(set(bytes_sent)) < 2 or len(bytes_sent) != len(time_s):
        raise ValueError(
            f"{len(time_s)} times of {len(set(bytes_sent))} different sizes: a line needs at "
            "least two sizes and a time for each"
        )
    if not all(0 < t < math.inf for t in time_s):
        raise ValueError(f"the times are {list(time_s)}, but each has to be above 0 and finite")
    trust = [1.0] * len(time_s)
    for _ in range(30):
        weights = [share / t**2 for share, t in zip(trust, time_s, strict=True)]
        alpha_s, beta = _weighted_line(bytes_sent, time_s, weights)
        residuals = [(alpha_s + b * beta) / t - 1 for b, t in zip(bytes_sent, time_s, strict=True)]
        # Huber (1964): within 1.345 standard deviations trust fully; the median estimates those.
        bound = max(1.345 * 1.4826 * statistics.median(map(abs, residuals)), MODEL_ERROR)
        trust = [min(1.0, bound / max(abs(residual), 1e-300)) for residual in residuals]
    return AlphaBeta(alpha_s=alpha_s, beta_s_per_byte=beta, residuals=tuple(residuals))


def measure_gemms(
    device: torch.device,
    *,
    multiply: Callable[[Tensor, Tensor], Tensor] = torch.matmul,
    barrier: Callable[[], object] = lambda: None,
    largest: Largest = lambda values: values,
    shapes: Sequence[tuple[int, int, int]] | None = None,
    round_s: float = 0.05,
    limit_s: float = 10.0,
    progress: Callable[[str], object] = lambda text: None,
) -> tuple[Gemm, ...]:
    """Return the rate of matrix products by dtype and (m, k, n), slowest rank, all at once.

    Args:
        device: where to multiply.
        multiply: the product to time; the trainer's own for what a training run will get.
        barrier, largest, round_s: as for `time_calls`.
        shapes: left out, squares of 64 to 1024 (256 to 8192 on a GPU) and some of a transformer.
        limit_s: a product of which four would take longer than this is left out, in seconds.
        progress: called with a line of text about what is left out.
    """
    if shapes is None:
        sides = [2**power for power in (range(8, 14) if device.type == "cuda" else range(6, 11))]
        shapes = [*((side, side, side) for side in sides), *RECTANGLES]
    gemms = []
    for name, dtype in DTYPES.items():
        slowest = math.inf
        for m, k, n in sorted(shapes, key=math.prod):
            # The rate so far foretells the time. It is the same on all ranks, as are the times.
            foretold_s = 4 * 2 * m * k * n / slowest
            if foretold_s > limit_s:
                progress(f"left out: {name} ({m}, {k}) x ({k}, {n}), {foretold_s:.0f} s")
                continue
            a = torch.randn(m, k, device=device).to(dtype)
            b = torch.randn(k, n, device=device).to(dtype)
            call = _then_synchronize(lambda a=a, b=b: multiply(a, b), device)
            (time_s,) = time_calls([call], barrier=barrier, largest=largest, round_s=round_s)
            slowest = 2 * m * k * n / time_s
            gemms.append(Gemm(dtype=name, m=m, k=k, n=n, flops_per_s=slowest))
    return tuple(gemms)


def measure_copy(
    device: torch.device,
    *,
    num_bytes: int = COPY_BYTES,
    barrier: Callable[[], object] = lambda: None,
    largest: Largest = lambda values: values,
    round_s: float = 0.05,
) -> float:
    """Return the bytes per second that a copy reads and writes, of the slowest rank, all at once.

    Args:
        device: whose memory.
        num_bytes: size of the tensor that is copied.
        barrier, largest, round_s: as for `time_calls`.
    """
    source = torch.ones(num_bytes, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source).fill_(2)  # written once, so that its pages are there
    call = _then_synchronize(lambda: target.copy_(source), device)
    (time_s,) = time_calls([call], barrier=barrier, largest=largest, round_s=round_s)
    return 2 * num_bytes / time_s


def _then_synchronize(call: Callable[[], object], device: torch.device) -> Callable[[], None]:
    def both() -> None:
        call()
        synchronize(device)

    return both


def _weighted_line(
    at: Sequence[int], values: Sequence[float], weights: Sequence[float]
) -> tuple[float, float]:
    """Return (value at 0, slope) of least squares; where one would be negative it is 0."""
    points = list(zip(at, values, weights, strict=True))
    total = sum(weights)
    mean_x = sum(w * x for x, _, w in points) / total
    mean_y = sum(w * y for _, y, w in points) / total
    # From the weighted means: the sums of squares themselves would cancel to few digits.
    slope = sum(w * (x - mean_x) * (y - mean_y) for x, y, w in points) / sum(
        w * (x - mean_x) ** 2 for x, _, w in points
    )
    if slope < 0:
        return mean_y, 0.0
    if mean_y < slope * mean_x:
        return 0.0, sum(w * x * y for x, y, w in points) / sum(w * x * x for x, _, w in points)
    return mean_y - slope * mean_x, slope
