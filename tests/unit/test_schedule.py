"""Pipeline schedules: they meet theory, pass an in-order network, and bad ones are named."""

import dataclasses
from functools import cache
from itertools import chain

import pytest

from course_lib.schedule import (
    Op,
    Schedule,
    Timeline,
    Transfer,
    build_schedule,
    check_schedule,
    has_split_backward,
    interleaved,
    one_f_one_b,
    posts,
    simulate,
    zero_bubble_h1,
)

KINDS = [(name, 1) for name in ("gpipe", "1f1b", "zb_h1")]
KINDS += [("interleaved", v) for v in (1, 2, 3, 4)]
RANKS = range(2, 9)
MICRO_BATCHES = range(1, 33)
# The network is simulated transfer by transfer; these cover one group, part groups and many.
NETWORK_MICRO_BATCHES = (1, 2, 3, 4, 5, 8, 11, 16)

Plan = list[list[list[Transfer]]]
build = cache(build_schedule)


@cache
def measured(name: str, p: int, m: int, v: int = 1) -> Timeline:
    """The timeline without its ops, which would fill the memory."""
    return dataclasses.replace(simulate(build(name, p, m, v)), ops=[])


@pytest.mark.parametrize(("name", "v"), KINDS)
def test_every_op_runs_once_and_in_order(name: str, v: int) -> None:
    for p in RANKS:
        for m in MICRO_BATCHES:
            schedule = build(name, p, m, v)
            split = has_split_backward(schedule)
            assert split == (name == "zb_h1")
            pairs = [(i, c) for i in range(m) for c in range(v)]
            wanted = {Op(kind, i, c) for kind in ("FBW" if split else "FB") for i, c in pairs}
            assert len(schedule) == p
            for ops in schedule:
                place = {op: index for index, op in enumerate(ops)}
                assert len(ops) == len(wanted) and place.keys() == wanted
                for i, c in pairs:
                    assert place[Op("F", i, c)] < place[Op("B", i, c)]
                    assert not split or place[Op("B", i, c)] < place[Op("W", i, c)]
            check_schedule(schedule, p, m, v)


@pytest.mark.parametrize(("name", "v"), KINDS)
def test_the_clock_respects_every_need(name: str, v: int) -> None:
    """Worked out anew from the stage numbers, so that a wrong neighbour in the library shows."""
    for p, m in ((2, 1), (3, 7), (4, 8), (8, 11)):
        ops = simulate(build(name, p, m, v)).ops
        times = {
            (op.kind, op.micro_batch, op.chunk * p + rank): (start, finish)
            for rank in range(p)
            for op, start, finish in ops[rank]
        }
        for (kind, i, stage), (start, _) in times.items():
            needs = {
                "F": [("F", i, stage - 1)],
                "B": [("F", i, stage), ("B", i, stage + 1)],
                "W": [("B", i, stage)],
            }[kind]
            assert all(times[need][1] <= start for need in needs if need in times)
        assert len(times) == (3 if name == "zb_h1" else 2) * m * p * v


@pytest.mark.parametrize("p", RANKS)
def test_bubbles_are_those_of_the_papers(p: int) -> None:
    for m in MICRO_BATCHES:
        assert measured("gpipe", p, m).bubble == measured("1f1b", p, m).bubble == (p - 1) / m
        if m >= p:
            assert measured("zb_h1", p, m).makespan == 3 * m + p - 1
            assert measured("zb_h1", p, m).bubble == (p - 1) / (3 * m)
        for v in (1, 2, 3, 4):
            full = -(-m // p) * p
            if m == full:
                assert measured("interleaved", p, m, v).bubble == (p - 1) / (v * m)
            assert measured("interleaved", p, m, v).makespan <= 3 * (v * full + p - 1)


@pytest.mark.parametrize("costs", [(3, 2, 1), (2, 3, 2), (5, 4, 4), (1.0, 1.5, 0.5)])
def test_zb_h1_idles_for_f_plus_b_less_w_on_other_costs(costs: tuple[float, ...]) -> None:
    f, b, w = costs
    for p in RANKS:
        for m in (p, p + 1, 3 * p):
            makespan = simulate(zero_bubble_h1(p, m), {"F": f, "B": b, "W": w}).makespan
            assert makespan == m * (f + b + w) + (p - 1) * (f + b - w)


@pytest.mark.parametrize("p", RANKS)
def test_peaks_of_activations(p: int) -> None:
    for m in MICRO_BATCHES:
        assert measured("gpipe", p, m).peak_activations == [m] * p
        assert measured("1f1b", p, m).peak_activations == [min(p - r, m) for r in range(p)]
        # Late W ops raise the other ranks to the peak of rank 0, which stays that of 1F1B.
        assert measured("zb_h1", p, m).peak_activations == [min(p, m)] * p
        for v in (1, 2, 3, 4):
            peaks = measured("interleaved", p, m, v).peak_activations
            most = [min(2 * (p - r - 1) + (v - 1) * p + 1, m * v) for r in range(p)]
            assert all(peak <= bound for peak, bound in zip(peaks, most, strict=True))
            assert peaks == most or m % p


def test_costs_must_price_every_kind() -> None:
    assert simulate(one_f_one_b(2, 4), {"F": 1, "B": 3}).makespan == 20
    with pytest.raises(ValueError, match="no time above 0 to W"):
        simulate(zero_bubble_h1(2, 4), {"F": 1, "B": 1})
    with pytest.raises(ValueError, match="no ops"):
        simulate([[], []])


def test_sizes_and_names_that_make_no_schedule() -> None:
    with pytest.raises(ValueError, match="'2f2b': use gpipe, 1f1b, interleaved or zb_h1"):
        build_schedule("2f2b", 2, 4)
    with pytest.raises(ValueError, match="v is 2: set v=1 or use interleaved"):
        build_schedule("1f1b", 2, 4, 2)
    for p, m, v in ((0, 4, 1), (2, 0, 1), (2, 4, 0)):
        with pytest.raises(ValueError, match=f"p={p} ranks, m={m} micro-batches, v={v} chunks"):
            interleaved(p, m, v)


def source(p: int, v: int, rank: int, op: Op) -> Transfer | None:
    """The receive that `op` cannot start without, from the stage numbers."""
    stage = op.chunk * p + rank + {"F": -1, "B": 1, "W": p * v}[op.kind]
    if op.kind == "W" or not 0 <= stage < p * v:
        return None
    return Transfer(False, stage % p, op.kind, op.micro_batch, stage // p)


def run_network(schedule: Schedule, plan: Plan, v: int, one_by_one: bool = False) -> list[Op]:
    """Run the ranks on an in-order network; return the ops that ranks are stuck in at the end.

    A rank's batches pass strictly one after another, those inside a batch together, or also one
    after another with `one_by_one`. An op waits for the receive it needs and for nothing else.
    """
    p = len(schedule)
    if one_by_one:
        lines = [[[t] for t in chain(*batches)] for batches in plan]
    else:
        lines = [[batch for batch in batches if batch] for batches in plan]
    # posted_at[rank][n]: ops that rank must have run before batch n of its line is posted.
    posted_at = [
        [i for i, b in enumerate(batches) for _ in range(len(b) if one_by_one else bool(b))]
        for batches in plan
    ]
    ran, head = [0] * p, [0] * p
    waiting = [set(line[0]) if line else set() for line in lines]
    received: list[set[Transfer]] = [set() for _ in range(p)]

    def active(rank: int) -> bool:
        return head[rank] < len(lines[rank]) and posted_at[rank][head[rank]] <= ran[rank]

    def finish(rank: int, transfer: Transfer) -> None:
        waiting[rank].remove(transfer)
        if not transfer.send:
            received[rank].add(transfer)
        if not waiting[rank]:
            head[rank] += 1
            if head[rank] < len(lines[rank]):
                waiting[rank] = set(lines[rank][head[rank]])

    moved = True
    while moved:
        moved = False
        for rank, ops in enumerate(schedule):
            while ran[rank] < len(ops):
                need = source(p, v, rank, ops[ran[rank]])
                if need and need not in received[rank]:
                    break
                ran[rank] += 1
                moved = True
            for transfer in list(waiting[rank]) if active(rank) else []:
                other = transfer._replace(send=not transfer.send, peer=rank)
                if active(transfer.peer) and other in waiting[transfer.peer]:
                    finish(rank, transfer)
                    finish(transfer.peer, other)
                    moved = True
    stuck = [ops[n] for ops, n in zip(schedule, ran, strict=True) if n < len(ops)]
    assert stuck or not any(waiting), "every transfer passes once all ops have run"
    return stuck


@pytest.mark.parametrize(("name", "v"), KINDS)
def test_posts_finish_on_an_in_order_network(name: str, v: int) -> None:
    for p in RANKS:
        for m in NETWORK_MICRO_BATCHES:
            schedule = build(name, p, m, v)
            plan = posts(schedule)
            assert not run_network(schedule, plan, v), (p, m)
            assert not run_network(schedule, plan, v, one_by_one=True), (p, m)


@pytest.mark.parametrize(("name", "v"), KINDS)
def test_posts_are_complete_and_both_ends_see_one_order(name: str, v: int) -> None:
    for p in RANKS:
        for m in (*NETWORK_MICRO_BATCHES, 21, 31, 32):
            schedule = build(name, p, m, v)
            plan = posts(schedule)
            line: dict[tuple[int, int], list[Transfer]] = {}
            for rank, batches in enumerate(plan):
                assert len(batches) == len(schedule[rank]) + 1
                for transfer in chain(*batches):
                    line.setdefault((rank, transfer.peer), []).append(transfer)
                for op, batch in zip(schedule[rank], batches[1:], strict=True):
                    sends = [transfer[2:] for transfer in batch if transfer.send]
                    assert sends in ([], [op]), "a send stands right after its op"
            for (rank, peer), transfers in line.items():
                assert len(set(transfers)) == len(transfers)
                mirrored = [t._replace(send=not t.send, peer=rank) for t in transfers]
                assert mirrored == line[peer, rank], (p, m)
            # Every stage but the last sends F, every stage but the first sends B.
            sends = sum(t.send for transfers in line.values() for t in transfers)
            assert sends == 2 * m * (p * v - 1)


def test_one_rank_sends_itself_nothing() -> None:
    schedule = interleaved(1, 3, 2)
    check_schedule(schedule, 1, 3, 2)
    assert not any(chain(*posts(schedule)[0]))


def test_the_network_proof_can_fail() -> None:
    """Receives posted only when their op is next, or a batch out of order, must get stuck."""
    schedule = one_f_one_b(4, 8)
    late: Plan = []
    for rank, batches in enumerate(posts(schedule)):
        kept = [[t for t in batch if t.send] for batch in batches]
        for index, op in enumerate(schedule[rank]):
            need = source(4, 1, rank, op)
            kept[index] += [need] if need else []
        late.append(kept)
    assert run_network(schedule, late, v=1, one_by_one=True)

    swapped = posts(schedule)
    both = next(batch for batch in swapped[1] if len({t.peer for t in batch}) == 2)
    index = swapped[1].index(both)
    swapped[1][index + 1], swapped[1][index] = both, swapped[1][index + 1]
    assert run_network(schedule, swapped, v=1)


def refused(schedule: Schedule, p: int, m: int, match: str, v: int = 1) -> None:
    with pytest.raises(ValueError, match=match):
        check_schedule(schedule, p, m, v)


def test_a_missing_or_doubled_op_is_named() -> None:
    schedule = one_f_one_b(2, 4)
    schedule[1].remove(Op("B", 3))
    arithmetic = r"2 kinds x m\(4\) x v\(1\) = 8 ops once, and has 7"
    refused(schedule, 2, 4, rf"rank 1 lacks B\(micro_batch 3\): .*{arithmetic}")
    schedule = interleaved(2, 4, 2)
    schedule[0].append(Op("F", 2, 1))
    refused(schedule, 2, 4, r"rank 0 has F\(micro_batch 2, chunk 1\) 2 times", v=2)


def test_an_unknown_op_or_a_wrong_number_of_ranks_is_named() -> None:
    refused(one_f_one_b(3, 4), 4, 4, "the schedule has 3 ranks, but p is 4")
    good = one_f_one_b(2, 4)
    from_one = [[Op(op.kind, op.micro_batch + 1) for op in ops] for ops in good]
    refused(from_one, 2, 4, r"rank 0 has F\(micro_batch 4\).*micro-batches 0 to 3")
    refused(interleaved(2, 4, 2), 2, 4, r"rank 0 has F\(micro_batch 0, chunk 1\), which does not")


def test_a_backward_before_what_it_needs_is_named() -> None:
    schedule = one_f_one_b(2, 4)
    schedule[1][4:6] = reversed(schedule[1][4:6])
    refused(schedule, 2, 4, r"rank 1 has B\(micro_batch 2\) at position 4, before its F\(micro_b")
    schedule = zero_bubble_h1(2, 4)
    schedule[0][2:4] = reversed(schedule[0][2:4])
    refused(schedule, 2, 4, r"rank 0 has W\(micro_batch 0\) at position 2, before its B\(micro_b")


def test_a_backward_that_is_split_on_some_ranks_only_is_named() -> None:
    schedule = [zero_bubble_h1(2, 4)[0], one_f_one_b(2, 4)[1]]
    refused(schedule, 2, 4, r"rank 1 lacks W\(micro_batch 0\).*some rank has W ops")


def test_a_deadlock_names_each_stuck_rank_and_what_it_waits_for() -> None:
    schedule = one_f_one_b(2, 4)
    # Rank 0 now wants the gradient of micro-batch 1 before it hands micro-batch 1 on.
    ops = schedule[0]
    here, there = ops.index(Op("F", 1)), ops.index(Op("B", 0))
    ops[here], ops[there] = ops[there], ops[here]
    check_schedule(schedule, 2, 4)  # slower, but it finishes
    schedule[1] = [Op("F", 0), Op("F", 1), *schedule[1][1:2], *schedule[1][3:]]
    message = (
        r"rank 0 waits in B\(micro_batch 0\) for B\(micro_batch 0\) of rank 1; "
        r"rank 1 waits in F\(micro_batch 1\) for F\(micro_batch 1\) of rank 0"
    )
    refused(schedule, 2, 4, message)
    with pytest.raises(ValueError, match=message):
        simulate(schedule)
    with pytest.raises(ValueError, match=r"F\(micro_batch 3\) of rank 0, which never runs it"):
        simulate([[Op("F", 0)], [Op("F", 0), Op("F", 3)]])


def test_a_warm_up_off_by_one_is_caught() -> None:
    """One forward too few costs time, one too many costs memory; the theory above tells both."""
    ranks = one_f_one_b(4, 8)
    good = simulate(ranks)
    short = simulate([*ranks[1:], ranks[-1]])
    assert short.bubble > good.bubble
    long = simulate(one_f_one_b(5, 8)[:4])
    assert long.peak_activations == [peak + 1 for peak in good.peak_activations]
