"""A sum over ranks from sends and receives: tried on real ranks, and what is wrong with it.

The numbers are chosen so that a result tells what was added: rank r brings BASE**r times 1, 2, 3,
..., and the digits of the sum in base BASE count how often each rank's numbers are in it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.grade.checks import CheckFailed
from course_lib.grade.signatures import names_words
from course_lib.grade.trials import plain_tensor, ranks_words
from course_lib.parallel.mesh import Mesh
from course_lib.profile.regions import heard

BASE = 64
COLLECTIVES = ("all_reduce", "reduce_scatter", "all_gather", "broadcast")


@dataclass
class Reduced:
    result: Tensor
    messages: list[str]
    num_bytes: int


def _numbers(rank: int, length: int) -> Tensor:
    """Return (n,) numbers in whose sum one can read which ranks were added, and how often."""
    return float(BASE**rank) * torch.arange(1, length + 1, dtype=torch.float64)


def reduce_once(mesh: Mesh, function: Callable, length: int) -> Reduced:
    tensor = _numbers(mesh.rank, length)
    with heard() as messages:
        result = function(tensor, mesh.dp)
    if result is None:
        raise CheckFailed("your function returned None: return the tensor with the sum")
    result = plain_tensor(result, "your function returned")
    if result.shape != (length,) or result.dtype != torch.float64:
        raise CheckFailed(
            f"your function returned a tensor {tuple(result.shape)} of {result.dtype}: the sum has "
            f"the shape and type of what came in, ({length},) of torch.float64"
        )
    return Reduced(result, messages, mesh.dp.traffic.num_bytes)


def wrong_sums(results: list[Tensor], length: int) -> str | None:
    n = len(results)
    unit = torch.arange(1, length + 1, dtype=torch.float64)
    expected = sum(BASE**rank for rank in range(n)) * unit
    right = [bool(torch.equal(result, expected)) for result in results]
    if all(right):
        return None
    if all(torch.equal(result, _numbers(rank, length)) for rank, result in enumerate(results)):
        return "every rank returns what it put in: nothing that arrived was added"
    if all(torch.allclose(result * n, expected, rtol=1e-12) for result in results):
        return f"every result is exactly {n}x too small: an all-reduce sums, it does not average"
    good = [rank for rank in range(n) if right[rank]]
    bad = [rank for rank in range(n) if not right[rank]]
    if good:
        content = _content(results[bad[0]], n)
        return f"{ranks_words(good)} right, but {ranks_words(bad)} not: all ranks need the sum" + (
            f". Rank {bad[0]} has {content}" if content else ""
        )
    worst = results[bad[0]]
    content = _content(worst, n)
    if content:
        return f"rank {bad[0]} has {content}; the sum has every rank's once"
    nowhere = [
        place
        for place in range(length)
        if all(float(result[place]) != float(expected[place]) for result in results)
    ]
    if nowhere and len(nowhere) < length:
        return (
            f"the sum is right but for places {names_words(list(map(str, nowhere)))} of 0 to "
            f"{length - 1}, which no rank has summed: {length} numbers do not make {n} equal pieces"
        )
    number = int((worst == expected).sum())
    if number:
        return (
            f"rank {bad[0]} has {number} of {length} numbers right: each piece is summed "
            "somewhere, but not handed on to all ranks"
        )
    return (
        f"rank {bad[0]}'s numbers are no sum of the ranks' numbers: is every piece added in its "
        "own place, and not overwritten while it is being sent?"
    )


def _content(result: Tensor, n: int) -> str:
    """Say which ranks' numbers were added, if they are the same in all places; else ""."""
    ratios = {value / (place + 1) for place, value in enumerate(result.tolist())}
    if len(ratios) != 1:
        return ""
    ratio = ratios.pop()
    if ratio != int(ratio) or not 0 <= ratio < BASE**n:
        return ""
    counts = [int(ratio) // BASE**rank % BASE for rank in range(n)]
    times = {0: "not at all", 1: "once", 2: "twice"}
    return ", ".join(
        f"rank {rank}'s numbers {times.get(count, f'{count} times')}"
        for rank, count in enumerate(counts)
    )


def wrong_ways(messages: list[list[str]]) -> str | None:
    """Say which messages were not to be used; the sum is right."""
    names = [name.split("/")[1] for rank in messages for name in rank if name.startswith("comm/")]
    ready = [name for name in names if name in COLLECTIVES]
    if ready:
        return f"the sum is right, but made by comm's own {ready[0]}: build it from comm.exchange"
    if not names:
        return "the sum is right, but no message was sent with comm.exchange"
    return None
