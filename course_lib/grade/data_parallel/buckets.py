"""A learner's buckets: how they are filled, and whether they leave while backward is running.

That messages overlap is read from their order (profile/regions.py), so a slow machine changes
nothing.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from course_lib.config import RunConfig
from course_lib.grade import compare
from course_lib.grade.checks import CheckFailed
from course_lib.grade.data_parallel.gradients import (
    Changed,
    around,
    backward,
    own_gradients,
    sequences,
)
from course_lib.grade.signatures import (
    Suspect,
    factor_words,
    is_factor,
    names_words,
    say_what_is_wrong,
    total,
)
from course_lib.parallel.comm import Pending
from course_lib.parallel.mesh import Mesh
from course_lib.profile.regions import heard, region

STEPS = 2
"""Two, because state that is not reset shows only in the second."""


def bucket_once(
    mesh: Mesh, parameters: dict[str, nn.Parameter], sizes: list[float], function: Callable
) -> list[list[list[str]]]:
    """Return the names in every bucket, for every size."""
    names = {id(parameter): name for name, parameter in parameters.items()}
    results = []
    for size in sizes:
        buckets = function(list(parameters.values()), size)
        for value in [buckets, *(buckets if type(buckets) in (list, tuple) else [])]:
            if type(value) not in (list, tuple):
                what = "what your function returned is" if value is buckets else "a bucket is"
                raise CheckFailed(f"{what} of type {type(value).__name__}: return a list of lists")
        for entry in (entry for bucket in buckets for entry in bucket):
            if id(entry) not in names:
                raise CheckFailed(
                    f"a bucket holds an object of type {type(entry).__name__} that is none of the "
                    "parameters: put the parameters themselves into it"
                )
        results.append([[names[id(entry)] for entry in bucket] for bucket in buckets])
    return results


def wrong_buckets(
    buckets: list[list[str]], parameters: dict[str, nn.Parameter], size: float
) -> str | None:
    arrival = list(reversed(parameters))
    flat = [name for bucket in buckets for name in bucket]
    bytes_of = {name: p.numel() * p.element_size() for name, p in parameters.items()}
    filled = [sum(bytes_of[name] for name in bucket) for bucket in buckets]
    missing = [name for name in arrival if name not in flat]
    if buckets == fill_buckets(arrival, bytes_of, size):
        return None
    if missing:
        last = missing == arrival[len(flat) :]
        why = " The last bucket is part of the result too, full or not." if last else ""
        return f"in no bucket, so never sent: {names_words(missing)}.{why}"
    if len(flat) > len(set(flat)):
        return "a parameter is in two buckets: its gradient would be summed twice"
    if [] in buckets:
        return (
            f"bucket {buckets.index([])} is empty: begin a new one only if the present one holds "
            "something, also where a parameter is larger than bucket_bytes"
        )
    if flat == arrival[::-1]:
        return (
            "the buckets are in the order of the forward pass. Backward meets the last parameter "
            "first; like this the first bucket is full when backward is over"
        )
    if flat != arrival:
        return "the order is not that of backward: last parameter first, first parameter last"
    numbers = {name: p.numel() for name, p in parameters.items()}
    if buckets == fill_buckets(arrival, numbers, size):
        return "numbers were counted, not bytes: each takes p.element_size() of them"
    if buckets == fill_buckets(arrival, {name: 4 * n for name, n in numbers.items()}, size):
        return (
            "4 bytes were counted for each number, and these here are float64, of 8: "
            "p.element_size() tells"
        )
    for index, (bucket, num_bytes) in enumerate(zip(buckets, filled, strict=True)):
        if num_bytes > size and len(bucket) > 1:
            return (
                f"bucket {index} holds {num_bytes} bytes: look whether the next one still fits "
                "before you add it"
            )
    for index, first in enumerate(bucket[0] for bucket in buckets[1:]):
        if filled[index] + bytes_of[first] <= size:
            return (
                f"bucket {index} has only {filled[index]} bytes and {first} would still fit: more "
                "messages than needed"
            )
    return "the buckets are not those that filling one after the other gives"


def fill_buckets(names: list[str], sizes: dict[str, int], limit: float) -> list[list[str]]:
    """Return names in buckets of at most a limit, filled one after the other."""
    buckets: list[list[str]] = []
    filled = 0
    for name in names:
        if not buckets or filled + sizes[name] > limit:
            buckets.append([])
            filled = 0
        buckets[-1].append(name)
        filled += sizes[name]
    return buckets


@dataclass
class Step:
    """What a rank saw in a training step."""

    changed: Changed
    buckets: list[list[str]]
    sent_by: list[int]
    """Messages that had left when the last gradient of bucket 0, 1, ... had arrived."""
    in_backward: list[str]
    afterwards: list[str]
    kept: int
    """Messages, finished or not, that rank 0 still refers to when the step is over."""


def overlap_steps(mesh: Mesh, run: RunConfig, size: float, function: Callable) -> list[Step]:
    model = compare.build_model(run)
    named = dict(model.named_parameters())
    bytes_of = {name: p.numel() * p.element_size() for name, p in named.items()}
    buckets = fill_buckets(list(reversed(named)), bytes_of, size)
    finish = function([[named[name] for name in bucket] for bucket in buckets], mesh.dp)
    if not callable(finish):
        raise CheckFailed(
            f"what your function returned is of type {type(finish).__name__}: return the function "
            "finish, without brackets"
        )
    sent: dict[str, int] = {}
    names = {parameter: name for name, parameter in named.items()}
    for parameter in named.values():  # after the learner's hooks, so it is called after them
        parameter.register_post_accumulate_grad_hook(
            lambda p: sent.update({names[p]: mesh.dp.traffic.num_calls})
        )
    return [
        _overlap_step(mesh, run, model, finish, buckets, sent, step=step) for step in range(STEPS)
    ]


def _overlap_step(
    mesh: Mesh,
    run: RunConfig,
    model: nn.Module,
    finish: Callable[[], object],
    buckets: list[list[str]],
    sent: dict[str, int],
    *,
    step: int,
) -> Step:
    tokens = sequences(run, _shares(step, mesh.dp.size), mesh.rank)
    model.zero_grad()
    already = mesh.dp.traffic.num_calls
    with heard() as names:
        backward(model, tokens)
        with region("check", "backward is over"):
            pass
        finish()
    changed = around(model, lambda: None)
    over = names.index("check/backward is over")
    return Step(
        changed=changed,
        buckets=buckets,
        sent_by=[max(sent[name] for name in bucket) - already for bucket in buckets],
        in_backward=names[:over],
        afterwards=names[over + 1 :],
        kept=_kept(len(buckets)) if mesh.rank == 0 else 0,
    )


def _kept(in_a_step: int) -> int:
    """Count the messages that something refers to."""

    def count() -> int:
        return sum(isinstance(each, Pending) for each in gc.get_objects())

    kept = count()
    if kept > in_a_step:
        gc.collect()  # slow, so only then
        kept = count()
    return kept


def _shares(step: int, n: int) -> tuple[int, ...]:
    return (step + 1,) * n


def _all_names(step: Step) -> list[str]:
    return step.in_backward + step.afterwards


def wrong_overlap(ranks: list[Step], run: RunConfig, step: int) -> str | None:
    n = len(ranks)
    before = [own_gradients(run, _shares(step, n), rank) for rank in range(n)]
    expected = total(before)

    def of_sum(factor: float) -> str:
        why = ": finish sums, it does not average" if is_factor(factor, 1 / n) else ""
        return f"every gradient is exactly {factor_words(factor)}{why}"

    wrong = say_what_is_wrong(
        before,
        [rank.changed.after for rank in ranks],
        expected,
        [Suspect(expected, of_sum)],
    )
    first = ranks[0]
    number = len(first.buckets)
    early = sum(name.startswith("comm/") for name in first.in_backward)
    messages = sum(name.startswith("comm/") for name in _all_names(first))
    if wrong and not messages and step:
        return (
            "no message left: what your hook counted in the first step, finish() has to set back "
            "for the second"
        )
    if wrong and messages and not any(name.startswith("wait/") for name in _all_names(first)):
        return "no one waits for the messages: finish() must wait before it takes the sums"
    if wrong:
        return f"{wrong} ({messages} messages left for {number} buckets)"
    if messages != number:
        return (
            f"{messages} messages were sent for {number} buckets: each bucket is one message, sent "
            "with comm.start_all_reduce"
        )
    if any(name.startswith("wait/") for name in first.in_backward):
        return (
            "backward stands still in a wait: the hook must only start the message, and finish() "
            "wait for it"
        )
    if early == 0:
        return (
            "all messages left after backward was over, so nothing overlaps: start them in the "
            "hooks, not in finish()"
        )
    for index, count in enumerate(first.sent_by):
        if count <= index:
            return (
                f"bucket {index}'s last gradient had arrived, but only {count} messages had left: "
                "send a bucket off as soon as it is full"
            )
    return None
