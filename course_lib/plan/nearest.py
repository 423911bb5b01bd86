"""What is possible instead: the requests nearest to one that no layout can meet. No torch.

Each of fewer GPUs, more GPUs, another batch, a GPU with more memory, and offload is changed by
itself, as little as it takes. Tried are counts of GPUs one by one close by, then whole nodes, then
powers of two, so that an answer costs a second at most and need not be the very nearest far away.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from course_lib.plan.candidates import Reason, Request, broken_rules, candidates
from course_lib.plan.forecast import layout_of, mesh_words
from course_lib.plan.hardware import GPUS
from course_lib.plan.search import Search, can_run

CLOSE_BY = 64
"""GPUs that are tried one by one."""
WHOLE_NODES = 64
"""Counts of whole nodes that are tried in each direction."""


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A request that can be met, and what differs."""

    request: Request
    """What can be met."""
    words: str
    """What differs, for people."""


def alternatives(request: Request) -> list[Alternative]:
    """Return the nearest requests that some layout can meet, one for each thing changed."""
    found = [
        _first(request, "num_gpus", _fewer(request), "{} GPUs"),
        _first(request, "num_gpus", _more(request), "{} GPUs"),
        _first(request, "global_batch", _batches(request), "a global batch of {}"),
        _larger_gpu(request),
    ]
    offloaded = dataclasses.replace(request, offload=True)
    if not request.offload and can_run(offloaded):
        found.append(Alternative(request=offloaded, words="--offload, slower"))
    return [each for each in found if each is not None]


def what_failed(found: Search) -> str:
    """Say why nothing can run: what the candidate that came nearest breaks."""
    cases = found.cases
    nearness = {
        Reason.MEMORY: found.memory_bytes,
        Reason.REPLICAS: cases.dp,
        Reason.LAYERS: cases.pp,
        Reason.MLP: cases.tp,
        Reason.HEADS: cases.tp,
    }
    for reason, size in nearness.items():
        broke = np.flatnonzero(found.reasons == reason)
        if len(broke):
            index = int(broke[np.argmin(size[broke])])
            layout = mesh_words(layout_of(cases, index))
            return f"the nearest of {len(found.reasons):,} layouts, {layout}: {found.why(index)}"
    return f"none of {len(found.reasons):,} layouts keeps its tp groups within nodes"


def _first(request: Request, name: str, values: Iterable[int], words: str) -> Alternative | None:
    for value in values:
        changed = dataclasses.replace(request, **{name: value})
        if can_run(changed):
            return Alternative(request=changed, words=words.format(value))
    return None


def _fewer(request: Request) -> list[int]:
    gpus, node = request.num_gpus, request.hardware.gpus_per_node
    close = range(gpus - 1, max(gpus - CLOSE_BY, 0), -1)
    nodes = range((gpus - CLOSE_BY) // node, 0, -1)
    powers = [2**i for i in range(gpus.bit_length() - 1, -1, -1) if 2**i < gpus]
    return [*close, *(n * node for n in nodes[:WHOLE_NODES]), *powers]


def _more(request: Request) -> list[int]:
    gpus, node = request.num_gpus, request.hardware.gpus_per_node
    close = range(gpus + 1, gpus + CLOSE_BY)
    start = (gpus + CLOSE_BY) // node
    nodes = (n * node for n in range(start, start + WHOLE_NODES))
    powers = (2**i for i in range(gpus.bit_length(), 21))
    return sorted({*close, *nodes, *powers})


def _batches(request: Request) -> list[int]:
    """Return the multiples, nearest to the batch asked for, of every dp that else is legal."""
    batch, cases = request.global_batch, candidates(request, smallest=True)
    reasons = broken_rules(cases, request)
    legal = np.unique(cases.dp[(reasons == Reason.NONE) | (reasons == Reason.REPLICAS)])
    fits = {max(1, round(batch / dp)) * dp for dp in legal.tolist()}
    return sorted(fits - {batch}, key=lambda value: abs(value - batch))


def _larger_gpu(request: Request) -> Alternative | None:
    larger = [gpu for gpu in GPUS if gpu.memory_bytes > request.hardware.memory_bytes > 0]
    for gpu in sorted(larger, key=lambda gpu: gpu.memory_bytes):
        changed = dataclasses.replace(request, hardware=gpu)
        if can_run(changed):
            return Alternative(request=changed, words=f"as many {gpu.name}")
    return None
