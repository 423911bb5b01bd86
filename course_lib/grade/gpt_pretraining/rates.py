"""A learner's learning rate over the steps, held against the trainer's own, and wrong ways.

A schedule has two parts that can be wrong by themselves, so the known mistakes of the warm-up and
of the decay are told apart, and named together where both are there.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

from course_lib.grade.checks import CheckFailed
from course_lib.grade.slips import number_words, numbers_of
from course_lib.presets import nano
from course_lib.train import optim

Schedule = tuple[int, int, float, float]
"""Steps, warm-up steps, peak and floor."""

SCHEDULES: list[Schedule] = [(20, 5, 1e-3, 1e-4), (9, 3, 0.02, 0.0), (6, 0, 3e-3, 3e-4)]
HIDDEN: list[Schedule] = [(30, 7, 6e-4, 6e-5), (12, 1, 1.0, 0.25), (5, 0, 2e-3, 0.0)]


def rates_of(
    function: Callable, schedules: Sequence[Schedule], *, limit_s: float | None
) -> list[list[float]]:
    """Return a learner's rate at every step of every schedule.

    Raises:
        CheckFailed: as `numbers_of`; a division by zero is explained.
    """
    cases = [(step, *each) for each in schedules for step in range(each[0])]
    try:
        rates = numbers_of(function, cases, limit_s=limit_s)
    except CheckFailed as failure:
        if "ZeroDivisionError" in str(failure):
            raise CheckFailed(f"{failure}\n{_NO_WARMUP}") from None
        raise
    found, place = [], 0
    for each in schedules:
        found.append(rates[place : place + each[0]])
        place += each[0]
    return found


_NO_WARMUP = (
    "With warmup_steps=0 there is no warm-up: look first whether step < warmup_steps, and divide "
    "by warmup_steps only then."
)


def trainer_rates(schedule: Schedule) -> list[float]:
    """Return the rates that the trainer takes (train/optim.py)."""
    steps, warmup_steps, peak, floor = schedule
    config = dataclasses.replace(
        nano().train, steps=steps, warmup_steps=warmup_steps, lr=peak, min_lr_fraction=floor / peak
    )
    return [optim.learning_rate(step, config) for step in range(steps)]


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))


def _done(step: int, steps: int, warmup: int) -> float:
    return (step - warmup) / max(1, steps - 1 - warmup)


WARMUPS: dict[str, Callable[[int, int, float, float], float]] = {
    "": lambda step, warmup, peak, floor: peak * (step + 1) / warmup,
    "the first step has the rate 0, so that it changes nothing: step 0 is the first, it gets "
    "peak / warmup_steps": lambda step, warmup, peak, floor: peak * step / warmup,
    "there is no warm-up: the rate is at its peak from the first step on": (
        lambda step, warmup, peak, floor: peak
    ),
    "the warm-up begins at the floor; it begins near 0, with peak / warmup_steps": (
        lambda step, warmup, peak, floor: floor + (peak - floor) * (step + 1) / warmup
    ),
    "the warm-up ends before the peak: its last step, warmup_steps - 1, has the peak": (
        lambda step, warmup, peak, floor: peak * (step + 1) / (warmup + 1)
    ),
    "the warm-up rises above the peak": lambda step, warmup, peak, floor: (
        peak * (step + 2) / warmup
    ),
}
"""By what is wrong with it: the rate of a step before `warmup`."""

DECAYS: dict[str, Callable[[int, int, int, float, float], float]] = {
    "": lambda step, steps, warmup, peak, floor: (
        floor + (peak - floor) * _cosine(_done(step, steps, warmup))
    ),
    "the last step does not reach the floor: from step warmup_steps to step steps - 1 it is "
    "steps - 1 - warmup_steps steps": lambda step, steps, warmup, peak, floor: (
        floor + (peak - floor) * _cosine((step - warmup) / (steps - warmup))
    ),
    "the cosine begins at step 0, so that the rate jumps at the end of the warm-up: it begins at "
    "step warmup_steps": lambda step, steps, warmup, peak, floor: (
        floor + (peak - floor) * _cosine(step / (steps - 1))
    ),
    "the floor is left out: the rate falls to 0": lambda step, steps, warmup, peak, floor: (
        peak * _cosine(_done(step, steps, warmup))
    ),
    "the floor is added, but the height of the cosine is peak - floor": (
        lambda step, steps, warmup, peak, floor: floor + peak * _cosine(_done(step, steps, warmup))
    ),
    "the cosine is cut off at the floor; it should arrive there in the last step": (
        lambda step, steps, warmup, peak, floor: max(
            floor, peak * _cosine(_done(step, steps, warmup))
        )
    ),
    "the rate falls in a straight line, not along a cosine": (
        lambda step, steps, warmup, peak, floor: peak - (peak - floor) * _done(step, steps, warmup)
    ),
    "the cosine is a whole one: the rate comes back to the peak. Half of it is cos(pi * p)": (
        lambda step, steps, warmup, peak, floor: (
            floor + (peak - floor) * _cosine(2 * _done(step, steps, warmup))
        )
    ),
    "the cosine is not halved: 1 + cos goes from 2 to 0": (
        lambda step, steps, warmup, peak, floor: (
            floor + (peak - floor) * 2 * _cosine(_done(step, steps, warmup))
        )
    ),
    "the 1 of 1 + cos is missing: a cosine alone falls below 0": (
        lambda step, steps, warmup, peak, floor: (
            floor + (peak - floor) * 0.5 * math.cos(math.pi * _done(step, steps, warmup))
        )
    ),
    "the cosine was given degrees: math.cos takes radians, and half a turn is math.pi": (
        lambda step, steps, warmup, peak, floor: (
            floor + (peak - floor) * 0.5 * (1 + math.cos(180 * _done(step, steps, warmup)))
        )
    ),
    "the pi of cos(pi * p) is missing: half a turn is math.pi": (
        lambda step, steps, warmup, peak, floor: (
            floor + (peak - floor) * 0.5 * (1 + math.cos(_done(step, steps, warmup)))
        )
    ),
    "nothing falls after the warm-up": lambda step, steps, warmup, peak, floor: peak,
}
"""By what is wrong with it: the rate of a step from `warmup` on."""


def wrong_rates(rates: Sequence[Sequence[float]], schedules: Sequence[Schedule]) -> str | None:
    """Return what is wrong with a learner's rates, or None."""
    expected = [trainer_rates(each) for each in schedules]
    off = [
        (n, step)
        for n, each in enumerate(schedules)
        for step in range(each[0])
        if not _close(rates[n][step], expected[n][step], each)
    ]
    if not off:
        return None
    n, step = off[0]
    steps, warmup, peak, floor = schedules[n]
    words = (
        f"with steps={steps}, warmup_steps={warmup}, peak={number_words(peak)}, "
        f"floor={number_words(floor)}, step {step} has the rate {rates[n][step]:.6g}, and "
        f"{expected[n][step]:.6g} is right"
    )
    before = _explain(rates, schedules, WARMUPS, range_of=lambda each: range(each[1]))
    after = _explain(rates, schedules, DECAYS, range_of=lambda each: range(each[1], each[0]))
    why = [part for part in (before, after) if part]
    return f"{words}: {'. And '.join(why)}" if why and None not in (before, after) else words


def _explain(
    rates: Sequence[Sequence[float]],
    schedules: Sequence[Schedule],
    ways: dict[str, Callable[..., float]],
    range_of: Callable[[Schedule], range],
) -> str | None:
    """Return which way gives these rates in one part: "" is the right one, None none of them."""
    for words, way in ways.items():
        if all(
            _close(rates[n][step], _rate(way, step, each), each)
            for n, each in enumerate(schedules)
            for step in range_of(each)
        ):
            return words
    return None


def _rate(way: Callable[..., float], step: int, schedule: Schedule) -> float:
    steps, warmup, peak, floor = schedule
    if way in DECAYS.values():
        return way(step, steps, warmup, peak, floor)
    return way(step, warmup, peak, floor)


def _close(rate: float, right: float, schedule: Schedule) -> bool:
    return math.isclose(rate, right, rel_tol=1e-9, abs_tol=1e-12 * schedule[2])
