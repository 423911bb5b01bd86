"""A learner's own time of nested regions: tried on trees of regions, recognised by what it gives.

Times are whole numbers, so that right is exactly right.
"""

import random
from collections.abc import Callable, Mapping, Sequence

from course_lib.grade.checks import CheckFailed
from course_lib.parallel.mesh import Mesh

Regions = Sequence[tuple[str, int, int]]

STEP: Regions = [
    ("step", 0, 100),
    ("data", 0, 20),
    ("forward", 20, 45),
    ("layer", 22, 30),
    ("layer", 30, 43),
    ("backward", 45, 85),
    ("recompute", 50, 60),
    ("layer", 51, 59),
    ("wait", 70, 82),
    ("optimizer", 85, 97),
]
"""The example of the lab's text."""
VISIBLE: tuple[Regions, ...] = (
    STEP,
    [("step", 5, 25)],
    [("step", 0, 10), ("data", 0, 4), ("forward", 4, 10), ("step", 10, 30), ("data", 12, 20)],
)


def made_up(seed: int) -> Regions:
    """Return a tree of regions, up to five deep, whose names come more than once."""
    draw = random.Random(seed)
    regions: list[tuple[str, int, int]] = []

    def fill(start: int, stop: int, depth: int) -> None:
        while depth < 5 and stop - start > 4 and draw.random() < 0.85:
            begin = start + draw.choice((0, 0, 1, 2))
            end = min(stop, begin + draw.randint(2, max(3, (stop - start) // 2)))
            if end - begin < 2:
                return
            regions.append((draw.choice(("layer", "wait", "recompute", "comm")), begin, end))
            fill(begin, end, depth + 1)
            start = end

    for number in range(3):
        regions.append(("step", 200 * number, 200 * number + 190))
        fill(200 * number, 200 * number + 190, 1)
    return regions


HIDDEN: tuple[Regions, ...] = tuple(made_up(seed) for seed in (1, 2, 3))


def own_time(regions: Regions) -> dict[str, int]:
    """Return by name the time in which a region was the innermost."""
    own: dict[str, int] = {}
    around: list[tuple[str, int]] = []
    for name, start, stop in regions:
        while around and around[-1][1] <= start:
            around.pop()
        own[name] = own.get(name, 0) + stop - start
        if around:
            own[around[-1][0]] -= stop - start
        around.append((name, stop))
    return own


def regions_once(mesh: Mesh, cases: Sequence[Regions], function: Callable) -> list[dict[str, int]]:
    """Return what the learner's function gives for each list."""
    results = []
    for regions in cases:
        given = [tuple(region) for region in regions]
        result = function(given)
        if given != list(regions):
            raise CheckFailed("your function changed the list that it was given: make one of yours")
        if type(result) is not dict:
            raise CheckFailed(
                f"your function returned an object of type {type(result).__name__}: return a dict, "
                "the time by name"
            )
        for name, value in result.items():
            if type(name) is not str or type(value) not in (int, float):
                raise CheckFailed(
                    f"an entry of your dict is a {type(name).__name__} with a "
                    f"{type(value).__name__}: names of regions with numbers are wanted"
                )
        if len(result) > 1000:
            raise CheckFailed("your dict has more entries than there are names")
        results.append(dict(result))
    return results


def wrong_times(result: Mapping[str, float], regions: Regions) -> str | None:
    """Say what is wrong with the times of a list, or None."""
    expected = own_time(regions)
    if result == expected:
        return None
    missing = [name for name in expected if name not in result]
    if missing:
        return f"{missing[0]} is missing: every name has an entry, also one whose own time is 0"
    odd = [name for name in result if name not in expected]
    if odd:
        return f"there is no region named {odd[0][:30]!r}"
    whole = sum(stop - start for name, start, stop in regions if name == "step")
    for suspect, words in _SUSPECTS.items():
        if result == suspect(regions):
            return words
    total = sum(result.values())
    worst = max(expected, key=lambda name: abs(result[name] - expected[name]))
    off = f"{worst} has {result[worst]:g} and should have {expected[worst]:g}"
    if total != whole:
        return (
            f"the times add up to {total:g}, but the steps took {whole}: each moment belongs to "
            f"one region, the innermost ({off})"
        )
    return f"the times add up to the steps, but are not in their places: {off}"


def _total(regions: Regions) -> dict[str, int]:
    times: dict[str, int] = {}
    for name, start, stop in regions:
        times[name] = times.get(name, 0) + stop - start
    return times


def _last_of_a_name(regions: Regions) -> dict[str, int]:
    """Forget the earlier regions of the same name."""
    own = [stop - start for _, start, stop in regions]
    for inner, parent in enumerate(_parents(regions)):
        if parent is not None:
            own[parent] -= regions[inner][2] - regions[inner][1]
    return {name: value for (name, _, _), value in zip(regions, own, strict=True)}


def _all_descendants(regions: Regions) -> dict[str, int]:
    """Take a region away from everything around it."""
    times = _total(regions)
    parents = _parents(regions)
    for name_start_stop, parent in zip(regions, parents, strict=True):
        while parent is not None:
            times[regions[parent][0]] -= name_start_stop[2] - name_start_stop[1]
            parent = parents[parent]
    return times


def _only_from_steps(regions: Regions) -> dict[str, int]:
    """Take the outermost regions of a step away from it, and nothing from anything else."""
    times = _total(regions)
    parents = _parents(regions)
    for (_, start, stop), parent in zip(regions, parents, strict=True):
        if parent is not None and parents[parent] is None:
            times[regions[parent][0]] -= stop - start
    return times


def _from_the_one_before(regions: Regions) -> dict[str, int]:
    """Take each region away from the one that began before it."""
    times = _total(regions)
    for before, (_, start, stop) in zip(regions[:-1], regions[1:], strict=True):
        if start < before[2]:
            times[before[0]] -= stop - start
    return times


def _from_the_one_that_just_stopped(regions: Regions) -> dict[str, int]:
    """Take a region that begins where another stops for one inside it."""
    times = _total(regions)
    around: list[tuple[str, int]] = []
    for name, start, stop in regions:
        while around and around[-1][1] < start:
            around.pop()
        if around:
            times[around[-1][0]] -= stop - start
        around.append((name, stop))
    return times


def _parents(regions: Regions) -> list[int | None]:
    """Return the place of the region in which each stands."""
    found: list[int | None] = []
    stack: list[int] = []
    for place, (_, start, _) in enumerate(regions):
        while stack and regions[stack[-1]][2] <= start:
            stack.pop()
        found.append(stack[-1] if stack else None)
        stack.append(place)
    return found


_SUSPECTS: dict[Callable[[Regions], dict[str, int]], str] = {
    _total: "these are the total times: what runs inside a region is counted twice. Take from each "
    "region the time of those directly inside it",
    _last_of_a_name: "a name that comes again replaces the one before: add up all regions of a "
    "name (there are several layers)",
    _all_descendants: "a region is taken away from everything around it, so more than once: only "
    "from the one directly around it",
    _only_from_steps: "only the step is free of what runs inside it: do the same for the regions "
    "inside regions",
    _from_the_one_before: "a region is taken from the one that began before it, but the one around "
    "it may have begun earlier: drop from your list of open regions those that have stopped",
    _from_the_one_that_just_stopped: "a region that begins the moment another stops counts as "
    "inside it: drop those that have stopped by then, also at that very moment",
}
