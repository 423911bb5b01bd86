"""Forecasts for this machine: from made-up calibrations, so that what must follow is known."""

import dataclasses
import math

import pytest

from course_lib.config import Layout
from course_lib.plan.local import PARTS, local_forecast
from course_lib.plan.local_costs import LocalCosts
from course_lib.plan.memory import peak_bytes
from course_lib.plan.traffic import bytes_per_step
from course_lib.presets import nano, tiny
from tests.unit.calibrations import (
    FLOPS_PER_S,
    OPERATIONS,
    calibration,
    collective,
    pieces,
)

LAYOUTS = [
    (1, {}),
    (1, {"recompute": "full"}),
    (1, {"recompute": "selective"}),
    (2, {"dp": 2}),
    (4, {"dp": 4, "zero": 1}),
    (2, {"dp": 2, "zero": 2}),
    (2, {"dp": 2, "zero": 3}),
    (2, {"pp": 2}),
    (4, {"pp": 4}),
    (2, {"pp": 2, "schedule": "gpipe"}),
    (2, {"pp": 2, "schedule": "zb_h1"}),
    (2, {"pp": 2, "virtual_stages": 2, "schedule": "interleaved"}),
    (4, {"dp": 2, "pp": 2, "zero": 3}),
    (2, {"tp": 2}),
    (2, {"tp": 2, "sp": True}),
    (4, {"pp": 2, "tp": 2, "sp": True, "recompute": "full"}),
]


def run(layout: dict, **train):
    base = nano()
    return dataclasses.replace(
        base, layout=Layout(**layout), train=dataclasses.replace(base.train, **train)
    )


@pytest.mark.parametrize(("ranks", "layout"), LAYOUTS)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_parts_sum_and_bytes_and_memory_are_those_of_the_plan(ranks, layout, precision):
    trained = run(layout, precision=precision)
    forecast = local_forecast(trained, ranks, calibration())
    assert tuple(forecast.parts_s) == PARTS
    assert all(0 <= seconds < 10 for seconds in forecast.parts_s.values())
    assert forecast.step_s == pytest.approx(sum(forecast.parts_s.values()))
    assert forecast.parts_s["compute"] > 0 and forecast.parts_s["update"] > 0
    for rank in range(ranks):
        assert forecast.bytes_by_axis[rank] == bytes_per_step(trained, ranks, rank)
        assert forecast.peak_bytes[rank] == peak_bytes(trained, ranks, rank)
    used = {"dp": layout.get("dp", 1), "pp": layout.get("pp", 1), "tp": layout.get("tp", 1)}
    for axis, size in used.items():
        assert (forecast.parts_s[axis] > 0) == (size > 1)
    assert (forecast.parts_s["recompute"] > 0) == ("recompute" in layout)
    assert "forecast: " in forecast.describe()


def test_one_rank_computes_what_its_pieces_say():
    forecast = local_forecast(run({}), 1, calibration())
    model, count, tokens = nano().model, 8, 256
    d, f = model.d_model, model.mlp_size
    flops = 2 * tokens * (4 * (4 * d * d + 2 * d * f) + d * model.vocab_size)
    attention = 4 * math.prod((2, 4, 128, 32)) * 128
    seconds = 3 * count * (flops + attention) / FLOPS_PER_S
    # At made-up rates that are the same for all sizes, every product is exact.
    assert forecast.parts_s["compute"] > seconds
    less = calibration(pieces=tuple(
        piece if piece.kind in ("product", "attention") else
        dataclasses.replace(piece, forward_s=0.0, backward_s=0.0) for piece in pieces()
    ))  # fmt: skip
    assert local_forecast(run({}), 1, less).parts_s["compute"] == pytest.approx(seconds, rel=1e-6)


def test_ranks_on_shared_cores_are_slower():
    steps = [local_forecast(run({"dp": dp}), dp, calibration()).parts_s for dp in (1, 2, 4)]
    one, two, four = (parts["compute"] for parts in steps)
    assert two == pytest.approx(one / 2)  # two cores
    assert four == pytest.approx(one / 2)  # as much work for each core, in smaller parts
    shared = calibration(cores=1)
    assert local_forecast(run({"dp": 2}), 2, shared).parts_s["compute"] == pytest.approx(one)


def test_a_waiting_stage_leaves_its_core_to_the_others():
    one_core = calibration(cores=1, message_cpu=())
    two_cores = calibration(cores=2, message_cpu=())
    trained = run({"pp": 2})
    alone = local_forecast(run({}), 1, one_core).parts_s
    shared = local_forecast(trained, 2, one_core)
    apart = local_forecast(trained, 2, two_cores)
    # On one core the pipeline's work is that of one rank, and there is no bubble to speak of.
    assert shared.step_s == pytest.approx(sum(alone.values()), rel=0.05)
    assert apart.step_s < 0.7 * shared.step_s


@pytest.mark.parametrize(
    ("ranks", "layout"),
    [
        *((ranks, {"dp": ranks, "zero": zero}) for ranks in (2, 4) for zero in range(4)),
        *((2, {"tp": 2, "recompute": how}) for how in ("none", "selective", "full")),
        *((2, {"tp": 2, "sp": True, "recompute": how}) for how in ("none", "full")),
        (4, {"dp": 2, "tp": 2, "sp": True, "zero": 3}),
        (4, {"pp": 2, "tp": 2, "recompute": "full"}),
        (4, {"pp": 2, "dp": 2, "zero": 1}),
    ],
)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_where_computing_costs_nothing_messages_take_what_their_bytes_take(
    ranks, layout, precision
):
    rate = 1e6
    nothing = tuple(
        dataclasses.replace(piece, forward_s=1e-15, backward_s=1e-15)
        for piece in pieces() + pieces("bf16")
    )
    words: dict = {"step_s": 0.0, "micro_batch_s": 0.0, "block_s": 0.0, "recompute_s": 0.0}
    made_up = calibration(
        pieces=nothing, message_cpu=(), bytes_per_s=rate, alpha_s=1e-9,
        cores=4, **words,
    )  # fmt: skip
    trained = run(layout, precision=precision)
    parts = local_forecast(trained, ranks, made_up).parts_s
    sent = [bytes_per_step(trained, ranks, rank) for rank in range(ranks)]
    if layout.get("pp", 1) == 1:
        # Both axes share the rank's link, so one may wait for the other's.
        assert (parts["dp"] + parts["tp"]) * rate == pytest.approx(
            sent[0]["dp"] + sent[0]["tp"], rel=0.01
        )
    else:  # stages also wait for each other
        assert sum(parts.values()) * rate > 0.99 * max(sum(each.values()) for each in sent)


def test_more_micro_batches_shrink_the_bubble():
    waits = [
        local_forecast(run({"pp": 4}, micro_batch=mb), 4, calibration()).parts_s["pp"]
        for mb in (8, 4, 2)
    ]
    assert waits == sorted(waits, reverse=True)


@pytest.mark.parametrize("layout", [{"dp": 2}, {"tp": 2}, {"pp": 2}, {"dp": 2, "zero": 3}])
def test_a_slower_link_takes_longer_and_never_less_than_its_bytes_need(layout):
    trained = run(layout)
    steps = [
        local_forecast(trained, 2, calibration(bytes_per_s=rate)).step_s for rate in (1e9, 1e8, 1e7)
    ]
    assert steps == sorted(steps)
    sent = sum(bytes_per_step(trained, 2).values())
    assert steps[-1] > 0.95 * sent / 1e7


def test_what_a_link_forgives_makes_messages_with_pauses_between_sooner():
    slow: dict = {"bytes_per_s": 2e8}
    plain = local_forecast(run({"tp": 2}), 2, calibration(**slow))
    forgiven = local_forecast(run({"tp": 2}), 2, calibration(forgiven=2.5e5, **slow))
    assert forgiven.step_s < plain.step_s
    assert forgiven.parts_s["compute"] == pytest.approx(plain.parts_s["compute"])


def test_steps_that_take_longer_than_their_pieces_make_all_steps_longer():
    plain = calibration()
    assert plain.costs is not None
    longer = tuple(
        dataclasses.replace(each, time_s=tuple(1.2 * seconds for seconds in each.time_s))
        for each in plain.costs.rehearsals
    )
    slow = calibration(rehearsals=longer)
    for ranks in (1, 2, 4):
        steps = [local_forecast(run({"dp": ranks}), ranks, made).parts_s for made in (plain, slow)]
        assert steps[1]["compute"] == pytest.approx(1.2 * steps[0]["compute"])
    with pytest.raises(ValueError, match="no rehearsal in bf16"):
        local_forecast(run({}, precision="bf16"), 1, calibration(rehearsals=longer[:1]))


def test_messages_that_work_waits_for_take_what_they_add_to_it():
    added = tuple(collective(name, 2, alpha_s=2e-3) for name in OPERATIONS)
    plain = local_forecast(run({"tp": 2}), 2, calibration()).parts_s
    waited = local_forecast(run({"tp": 2}), 2, calibration(between=added)).parts_s
    assert waited["tp"] > 5 * plain["tp"]
    sums = [local_forecast(run({"dp": 2}), 2, made).parts_s["dp"] for made in
            (calibration(), calibration(between=added))]  # fmt: skip
    assert sums[1] == pytest.approx(sums[0])  # these are sent in a row


def test_gradients_under_way_are_hidden_behind_backward():
    small_buckets = run({"dp": 2}, bucket_mib=0.5)
    one_bucket = run({"dp": 2}, bucket_mib=64.0)
    quick_cores = calibration(bytes_per_s=1e8, message_cpu=())
    hidden = local_forecast(small_buckets, 2, quick_cores).parts_s["dp"]
    assert hidden < local_forecast(one_bucket, 2, quick_cores).parts_s["dp"]


def test_interpolation_is_exact_where_it_was_measured():
    costs = LocalCosts(calibration())
    for piece in pieces():
        if piece.kind == "product":
            found = costs.product("float32", *piece.shape)  # type: ignore[misc]
        elif piece.kind == "gelu":
            found = costs.by_numbers("gelu", "float32", piece.shape[0])
        else:
            continue
        assert found == pytest.approx((piece.forward_s, piece.backward_s))
    for measured in (costs.costs.pair[0], costs.costs.pair[3]):
        for sent, seconds in zip(measured.bytes_sent, measured.time_s, strict=True):
            assert costs.message(measured.operation, 2, sent, 2)[0] == pytest.approx(seconds)
    largest = costs.costs.pair[0].bytes_sent[-1]
    further = costs.message("all_reduce", 2, 3 * largest, 2)[0]
    assert further == pytest.approx(1e-4 + 3 * largest / 1e9, rel=1e-3)


def test_an_old_calibration_and_too_few_ranks_are_named():
    old = dataclasses.replace(calibration(), costs=None)
    with pytest.raises(ValueError, match="no pieces of a training step.*workshop calibrate"):
        local_forecast(run({}), 1, old)
    with pytest.raises(ValueError, match="measured on 4 ranks, but the run has 8.*--ranks 8"):
        local_forecast(run({"dp": 8}), 8, calibration())
    with pytest.raises(ValueError, match="WORLD_SIZE is 3"):
        local_forecast(run({"dp": 2}), 3, calibration())
    with pytest.raises(ValueError, match="no product in float32"):
        local_forecast(tiny(), 1, calibration(pieces=()))
