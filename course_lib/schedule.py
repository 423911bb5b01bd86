"""Pipeline schedules as data: which rank does what, in which order, and what that costs.

A schedule is one list of ops per pipeline rank; a rank runs its list from left to right. With p
ranks and v chunks per rank, chunk c of rank r is virtual stage s = c p + r. F of stage s needs F
of stage s - 1, B of stage s needs its own F and B of stage s + 1, W needs its own B:

    bubble = (p - 1) / m            gpipe, 1f1b
    bubble = (p - 1) / (v m)        interleaved, p divides m (arXiv:2104.04473, section 2.2)
    idle   = (p - 1)(F + B - W)     zb_h1, p <= m, W <= F, W <= B (arXiv:2401.10241, section 2)

Left out on purpose: the time of communication (plan/bubble.py adds it), schedules beyond zb_h1.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple


class Op(NamedTuple):
    """One step of one rank."""

    kind: Literal["F", "B", "W"]
    """Forward, backward, weight gradient. Where a schedule has W ops, B is the input half."""
    micro_batch: int
    chunk: int = 0
    """Which of this rank's virtual stages."""


Schedule = list[list[Op]]


class Transfer(NamedTuple):
    """One end of a point-to-point transfer; the other end is a Transfer of `peer`."""

    send: bool
    peer: int
    kind: Literal["F", "B"]
    """With micro_batch and chunk: the op that produced the tensor, named as its rank names it."""
    micro_batch: int
    chunk: int


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What a schedule costs where every op takes a fixed time and communication none."""

    ops: list[list[tuple[Op, float, float]]]
    """Per rank, in order: the op, its start and its finish."""
    makespan: float
    """Finish of the last op, in the unit of the costs."""
    bubble: float
    """(makespan - work) / work, where work is the busy time of a rank."""
    peak_activations: list[int]
    """Per rank: most pairs (micro_batch, chunk) alive at once, from F to the last backward op."""


def gpipe(p: int, m: int) -> Schedule:
    """Return all forwards, then all backwards (Huang et al. 2019, arXiv:1811.06965)."""
    return _fused(p, m, warm_ups=[m] * p)


def one_f_one_b(p: int, m: int) -> Schedule:
    """Return 1F1B: rank r holds at most p - r micro-batches (arXiv:2104.04473, section 2.2.1)."""
    return _fused(p, m, warm_ups=[p - rank - 1 for rank in range(p)])


def interleaved(p: int, m: int, v: int) -> Schedule:
    """Return Megatron's interleaved 1F1B over v chunks per rank (arXiv:2104.04473, section 2.2.2).

    Forwards run p micro-batches through chunk 0, the same p through chunk 1, and so on; rank r
    warms up with 2(p - r - 1) + (v - 1)p of them. Where p does not divide m, that warm-up can
    deadlock on the smaller last group (p=4, m=5, v=3). So the list is laid out for the next
    multiple of p, and the ops of micro-batches that do not exist are dropped: micro-batches do not
    depend on each other, so what is left cannot deadlock. It takes no longer than the multiple.
    """
    warm_ups = [2 * (p - rank - 1) + (v - 1) * p for rank in range(p)]
    return _fused(p, m, warm_ups, v)


def zero_bubble_h1(p: int, m: int) -> Schedule:
    """Return ZB-H1: 1F1B with the backward split, where W of rank r runs r micro-batches late.

    No rank waits for a neighbour's W, and the late ones fill the end. Every rank then holds up to
    p micro-batches, as rank 0 does in 1F1B: the highest peak is the same, the others rise to it.
    """
    schedule = []
    for rank, ops in enumerate(one_f_one_b(p, m)):
        split: list[Op] = []
        for op in ops:
            split.append(op)
            if op.kind == "B" and op.micro_batch >= rank:
                split.append(Op("W", op.micro_batch - rank))
        late = range(max(m - rank, 0), m)
        schedule.append(split + [Op("W", micro_batch) for micro_batch in late])
    return schedule


def build_schedule(name: str, p: int, m: int, v: int = 1) -> Schedule:
    """Return the schedule called `name`, for p ranks, m micro-batches a step, v chunks per rank.

    Raises:
        ValueError: an unknown name, a size below 1, or chunks for a schedule that has none.
    """
    plain = {"gpipe": gpipe, "1f1b": one_f_one_b, "zb_h1": zero_bubble_h1}
    if name not in (*plain, "interleaved"):
        raise ValueError(f"no schedule is called {name!r}: use gpipe, 1f1b, interleaved or zb_h1")
    if name == "interleaved":
        return interleaved(p, m, v)
    if v != 1:
        raise ValueError(f"{name} has one chunk per rank, but v is {v}: set v=1 or use interleaved")
    return plain[name](p, m)


def has_split_backward(schedule: Schedule) -> bool:
    """Return whether the backward is split into B (input gradient) and W (weight gradient)."""
    return any(op.kind == "W" for ops in schedule for op in ops)


def check_schedule(schedule: Schedule, p: int, m: int, v: int = 1) -> None:
    """Check that every rank runs each op once, in an order that can finish.

    Raises:
        ValueError: names the rank and the op: one that is missing, there twice, unknown, before
            what it needs on its own rank, or waiting in a circle of ranks.
    """
    if len(schedule) != p:
        raise ValueError(f"the schedule has {len(schedule)} ranks, but p is {p}: one list per rank")
    kinds = ("F", "B", "W") if has_split_backward(schedule) else ("F", "B")
    pairs = [(micro_batch, chunk) for micro_batch in range(m) for chunk in range(v)]
    wanted = [Op(kind, *pair) for kind in kinds for pair in pairs]
    known = set(wanted)
    for rank, ops in enumerate(schedule):
        times = Counter(ops)
        for op in ops:
            if op not in known:
                raise ValueError(
                    f"rank {rank} has {_text(op)}, which does not exist: kinds are {kinds}, "
                    f"micro-batches 0 to {m - 1}, chunks 0 to {v - 1}"
                )
        for op in wanted:
            if times[op] == 1:
                continue
            sizes = f"{len(kinds)} kinds x m({m}) x v({v}) = {len(wanted)} ops"
            found = f"has {_text(op)} {times[op]} times" if times[op] else f"lacks {_text(op)}"
            why = " (some rank has W ops, so each needs all)" if op.kind == "W" else ""
            raise ValueError(
                f"rank {rank} {found}: it must run each of {sizes} once, and has {len(ops)}{why}"
            )
        place = {op: index for index, op in enumerate(ops)}
        for op in ops:
            own = _own_need(op)
            if own and place[own] > place[op]:
                raise ValueError(
                    f"rank {rank} has {_text(op)} at position {place[op]}, before its "
                    f"{_text(own)} at position {place[own]}: move {op.kind} behind {own.kind}"
                )
    simulate(schedule)


def simulate(
    schedule: Schedule, costs: dict[str, float] | Callable[[int, Op], float] | None = None
) -> Timeline:
    """Run the schedule on a clock: an op starts once its rank is free and its needs are done.

    `costs` gives the time of each kind of op; if left out F 1, B 2, or F 1, B 1, W 1 where split.
    A function of rank and op gives stages times of their own; the bubble is then over the mean.

    Raises:
        ValueError: no ops, a cost that is missing or not above 0, or ranks that wait for each
            other for ever.
    """
    kinds = {op.kind for ops in schedule for op in ops}
    if not kinds:
        raise ValueError("the schedule has no ops: give each rank its list")
    cost = costs if callable(costs) else _cost_by_kind(kinds, costs)
    p, v = len(schedule), _num_chunks(schedule)
    last = p * v - 1
    # By kind and virtual stage: the finish of each micro-batch. No object is made for an op or for
    # what it needs (`_needs` says the same): this loop runs for every op of every schedule.
    finish: dict[str, list[dict[int, float]]]
    finish = {kind: [{} for _ in range(p * v)] for kind in kinds | {"F", "B"}}
    timeline: list[list[tuple[Op, float, float]]] = [[] for _ in schedule]
    busy = [0.0] * p
    moved = True
    while moved:
        moved = False
        for rank, ops in enumerate(schedule):
            done = timeline[rank]
            start = done[-1][2] if done else 0.0
            while len(done) < len(ops):
                op = ops[len(done)]
                kind, micro_batch, chunk = op
                stage = chunk * p + rank
                if kind != "F":
                    own = finish["F" if kind == "B" else "B"][stage].get(micro_batch)
                    if own is None:
                        break
                    start = max(start, own)
                before = stage - 1 if kind == "F" else stage + 1
                if kind != "W" and 0 <= before <= last:
                    other = finish[kind][before].get(micro_batch)
                    if other is None:
                        break
                    start = max(start, other)
                took = cost(rank, op)
                stop = finish[kind][stage][micro_batch] = start + took
                busy[rank] += took
                done.append((op, start, stop))
                start = stop
                moved = True
    if any(len(done) < len(ops) for done, ops in zip(timeline, schedule, strict=True)):
        raise ValueError(_deadlock(schedule, v, timeline))
    makespan = max(ops[-1][2] for ops in timeline if ops)
    work = sum(busy) / p
    return Timeline(
        ops=timeline,
        makespan=makespan,
        bubble=(makespan - work) / work,
        peak_activations=[_peak(ops, "W" if "W" in kinds else "B") for ops in schedule],
    )


def _cost_by_kind(kinds: set[str], costs: dict[str, float] | None) -> Callable[[int, Op], float]:
    """Return the time of an op that depends on its kind alone."""
    by_kind = costs or {"F": 1, "B": 1 if "W" in kinds else 2, "W": 1}
    unpriced = sorted(kind for kind in kinds if by_kind.get(kind, 0) <= 0)
    if unpriced:
        raise ValueError(f"costs {by_kind} give no time above 0 to {', '.join(unpriced)}: add it")
    return lambda rank, op: by_kind[op.kind]


def posts(schedule: Schedule) -> list[list[list[Transfer]]]:
    """Return each rank's transfers in batches: one posted before its first op, one after each op.

    T(x) is the simulated finish of the op that produces x. A send is posted right after its op; a
    receive before the first own op that starts at or after T(x). So the batch between op i and
    op i + 1 holds the T with start(i) < T <= start(i + 1). With batches sorted by (T, kind,
    micro_batch, chunk), a rank posts all its transfers in that order. The key is unique: equal
    kind, micro-batch and chunk on two ranks are a chain of ops with different T. Both ends thus
    agree on one total order. Chunks of one rank (p = 1) hand tensors over without a transfer.

    Why no in-order backend (NCCL) deadlocks on a schedule that can finish: take the unfinished
    transfer with the smallest key. It is next in line on both sides, and both reach its post, for
    all ops ahead of the post start before T and need only transfers with smaller keys, which are
    done. So it finishes.
    """
    p, v = len(schedule), _num_chunks(schedule)
    timeline = simulate(schedule).ops
    starts = [[start for _, start, _ in ops] for ops in timeline]
    keyed: list[list[list[tuple]]] = [[[] for _ in range(len(ops) + 1)] for ops in schedule]
    for rank, ops in enumerate(timeline):
        for index, (op, _, finish) in enumerate(ops):
            user = _neighbour(p, v, rank, op, step=1)
            if op.kind == "W" or user is None or user[0] == rank:
                continue
            peer = user[0]
            before = bisect_left(starts[peer], finish)
            assert before < len(starts[peer]), "the op that needs the tensor starts at T or later"
            name = (op.kind, op.micro_batch, op.chunk)
            keyed[rank][index + 1].append((finish, *name, Transfer(True, peer, *name)))
            keyed[peer][before].append((finish, *name, Transfer(False, rank, *name)))
    return [[[transfer for *_, transfer in sorted(batch)] for batch in rank] for rank in keyed]


def _fused(p: int, m: int, warm_ups: list[int], v: int = 1) -> Schedule:
    """Return warm_ups[r] forwards on rank r, then one forward and one backward in turn."""
    if min(p, m, v) < 1:
        raise ValueError(f"p={p} ranks, m={m} micro-batches, v={v} chunks: each must be 1 or more")
    order = [(first + i, c) for first in range(0, m, p) for c in range(v) for i in range(p)]
    forwards = [Op("F", micro_batch, chunk) for micro_batch, chunk in order]
    backwards = [Op("B", micro_batch, v - 1 - chunk) for micro_batch, chunk in order]
    schedule = []
    for warm_up in warm_ups:
        ops = forwards[:warm_up]
        for forward, backward in zip(forwards[warm_up:], backwards, strict=False):
            ops += [forward, backward]
        ops += backwards[max(len(order) - warm_up, 0) :]
        # The last group was laid out in full; see `interleaved`.
        schedule.append([op for op in ops if op.micro_batch < m])
    return schedule


def _num_chunks(schedule: Schedule) -> int:
    return 1 + max((op.chunk for ops in schedule for op in ops), default=0)


def _neighbour(p: int, v: int, rank: int, op: Op, step: int) -> tuple[int, Op] | None:
    """Return the op of the same kind, `step` stages on in that kind's direction, with its rank."""
    stage = op.chunk * p + rank + (step if op.kind == "F" else -step)
    if not 0 <= stage < p * v:
        return None
    return stage % p, Op(op.kind, op.micro_batch, stage // p)


def _own_need(op: Op) -> Op | None:
    """Return the op that the same rank must run before."""
    if op.kind == "F":
        return None
    return Op("F" if op.kind == "B" else "B", op.micro_batch, op.chunk)


def _needs(p: int, v: int, rank: int, op: Op) -> list[tuple[int, Op]]:
    """Return all (rank, op) that must finish before `op` of `rank` can start."""
    own = _own_need(op)
    other = None if op.kind == "W" else _neighbour(p, v, rank, op, step=-1)
    return [need for need in (own and (rank, own), other) if need]


def _peak(ops: list[Op], last: str) -> int:
    alive = peak = 0
    for op in ops:
        alive += (op.kind == "F") - (op.kind == last)
        peak = max(peak, alive)
    return peak


def _text(op: Op) -> str:
    chunk = f", chunk {op.chunk}" if op.chunk else ""
    return f"{op.kind}(micro_batch {op.micro_batch}{chunk})"


def _deadlock(schedule: Schedule, v: int, timeline: list[list[tuple[Op, float, float]]]) -> str:
    """Say where each unfinished rank waits, and for what."""
    finished = {(rank, op) for rank, ops in enumerate(timeline) for op, _, _ in ops}
    waits = []
    for rank, ops in enumerate(schedule):
        if len(timeline[rank]) == len(ops):
            continue
        stuck = ops[len(timeline[rank])]
        needs = _needs(len(schedule), v, rank, stuck)
        peer, need = next(need for need in needs if need not in finished)
        never = "" if need in schedule[peer] else ", which never runs it"
        waits.append(f"rank {rank} waits in {_text(stuck)} for {_text(need)} of rank {peer}{never}")
    return f"deadlock: {'; '.join(waits)}: on one of these ranks, run what is waited for earlier"
