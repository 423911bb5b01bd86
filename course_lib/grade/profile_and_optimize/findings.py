"""Which bottlenecks a learner has found, and whether the numbers given for them are those there."""

import dataclasses
import math
from collections.abc import Mapping

from course_lib.config import RunConfig
from course_lib.grade.checks import CheckFailed
from course_lib.grade.profile_and_optimize.case import ORDER, RANKS, SUSPECTS, slow_run
from course_lib.profile.across import RunProfile

TOLERANCE = 0.1
"""So far, relatively, a number may be from the recording's, or from that of one recorded step."""


def judge_findings(found: Mapping[str, float], profile: RunProfile | None) -> str:
    """Return what was found, or raise what is wrong.

    Args:
        found: a number for each bottleneck that the learner names.
        profile: the learner's own recording; while grading there is none, and arithmetic has to do.
    """
    run = slow_run()
    for name in found:
        if name not in SUSPECTS:
            raise CheckFailed(
                f"there is no suspect {name[:30]!r}. The table's first column has their names: "
                f"{', '.join(SUSPECTS)}"
            )
    for name in found:
        if name not in ORDER:
            suspect = SUSPECTS[name]
            has = "" if profile is None else f" (the recording: {suspect.read(profile):.4g})"
            raise CheckFailed(f"{name} is innocent: {suspect.look}{has}")
    for name, number in found.items():
        low, high = _expected(name, run, profile)
        if not low <= number <= high:
            raise CheckFailed(f"{name} is guilty, but {_why(name, number, low, high, run)}")
    missing = [name for name in ORDER if name not in found]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckFailed(
            f"right so far, {len(found)} of {len(ORDER)}. Not found yet: one{more}. "
            f"Look at {SUSPECTS[missing[0]].look}"
        )
    return f"all {len(ORDER)}, with the numbers that prove them: {', '.join(ORDER)}."


def _expected(name: str, run: RunConfig, profile: RunProfile | None) -> tuple[float, float]:
    if profile is None:
        of_config = SUSPECTS[name].of_config
        assert of_config is not None
        return of_config(run)
    numbers = [SUSPECTS[name].read(profile)]
    if name_of_time(name):  # the lab prints the first step's, too
        rank = profile.ranks[0]
        for step in rank.steps:
            alone = dataclasses.replace(rank, steps=[step])
            numbers.append(SUSPECTS[name].read(dataclasses.replace(profile, ranks=[alone])))
    low, high = min(numbers), max(numbers)
    return low - max(TOLERANCE * low, 0.5), high + max(TOLERANCE * high, 0.5)


def _why(name: str, number: float, low: float, high: float, run: RunConfig) -> str:
    """Say what is wrong with a number, by the factor that it is off."""
    what = SUSPECTS[name].number
    middle = (low + high) / 2 if high < 10 * low else low
    recorded, layers = len(run.profile.range), run.model.num_layers
    units = [
        (1e-3, "are these seconds? Give ms"),
        (1e3, "are these µs? Give ms"),
        (1e6, "are these ns? Give ms"),
    ]
    twice = (
        f"is it the sum over the {recorded} recorded steps, over both ranks, or forwards and once "
        "more in backward? Give that of one step of rank 0"
    )
    factors = [
        *(units if name_of_time(name) else []),
        (recorded, twice),
        (RANKS, twice),
        (layers, f"is it the sum over {layers} layers? Give that of one"),
        (1 / layers, f"is it that of one of {layers} layers or micro-batches? Give the step's"),
    ]
    close = 2 * TOLERANCE if name_of_time(name) else 0.05
    if middle > 0 and number > 0:
        for factor, why in factors:
            if math.isclose(number / middle, factor, rel_tol=close):
                return f"its number is off by a factor of about {factor:g}: {why} ({what})"
    return (
        f"{number:g} is not its number: wanted are the {what}, of rank 0 and one step, as the "
        "cells above print them"
    )


def name_of_time(name: str) -> bool:
    """Tell whether a suspect's number is a time."""
    return SUSPECTS[name].number.startswith("ms")
