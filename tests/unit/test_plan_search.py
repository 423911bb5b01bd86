"""Search: legality against the trainer's own check, ranking, reasons, what is possible instead."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from course_lib.config import Layout, ModelConfig, RunConfig
from course_lib.layout import check_layout
from course_lib.plan.candidates import MESH_REASONS, Reason, Request, divisors, take
from course_lib.plan.cases import RECOMPUTE, Cases
from course_lib.plan.counts import flops_per_token, num_parameters
from course_lib.plan.forecast import Forecast, forecasts, layout_of, why_slower
from course_lib.plan.hardware import find_hardware
from course_lib.plan.models import PLANNED, planned_run, published_name
from course_lib.plan.nearest import alternatives, what_failed
from course_lib.plan.owners import bytes_by_owner
from course_lib.plan.published import NARAYANAN_2021
from course_lib.plan.search import Search, at_most, can_run, search
from course_lib.plan.software import TORCH, find_software
from course_lib.plan.step_time import step_time

MEGATRON = find_software("megatron-2021")
A100 = find_hardware("a100-80gb")
MODEL = ModelConfig(vocab_size=5000, seq_len=120, num_layers=6, num_heads=6, d_model=96)
GPT3 = planned_run("gpt_175b").model
CROOKED = (*MESH_REASONS, Reason.SEQUENCE, Reason.CHUNKS, Reason.BATCH)
"""What the trainer refuses, too. The others it would run: slowly, in vain, or out of memory."""


def request(**changes: Any) -> Request:
    values: dict[str, Any] = {
        "model": MODEL,
        "num_gpus": 24,
        "hardware": A100,
        "global_batch": 48,
        "software": MEGATRON,
    }
    return Request(**values | changes)


@pytest.fixture(scope="module")
def gpt3() -> Search:
    return search(request(model=GPT3, num_gpus=1024, global_batch=1536, software=TORCH))


def trainer_accepts(found: Search, index: int) -> bool:
    """Return whether the run that the candidate stands for passes the trainer's own checks."""
    cases = found.cases
    nano = PLANNED["nano"]()
    micro_batch = int(cases.micro_batch[index])
    try:
        train = dataclasses.replace(
            nano.train, global_batch=found.request.global_batch, micro_batch=micro_batch
        )
        run = RunConfig(name="x", model=MODEL, layout=layout_of(cases, index), train=train)
        check_layout(run, found.request.num_gpus)
    except ValueError:
        return False
    return True


def test_legal_is_what_the_trainer_accepts() -> None:
    found = search(request(tp_across_nodes=True))
    crooked = np.isin(found.reasons, CROOKED)
    choose = np.random.default_rng(0).choice
    some = [*choose(np.flatnonzero(crooked), 1500), *choose(np.flatnonzero(~crooked), 500)]
    for index in some:
        assert trainer_accepts(found, index) != crooked[index], found.why(index)


def test_every_division_of_the_gpus_is_a_candidate() -> None:
    cases = search(request()).cases
    found = set(zip(cases.tp.tolist(), cases.pp.tolist(), cases.dp.tolist(), strict=True))
    wanted = {
        (tp, pp, 24 // tp // pp)
        for tp in range(1, 7)  # as many as heads
        for pp in range(1, 7)  # as many as layers
        if 24 % (tp * pp) == 0
    }
    assert found == wanted
    columns = [
        getattr(cases, name)
        for name in ("tp", "pp", "virtual_stages", "micro_batch", "sp", "zero", "recompute")
    ]
    rows = set(zip(*(column.tolist() for column in columns), strict=True))
    assert len(rows) == len(cases)
    # A mesh that is wrong by itself stands once, the others with all settings.
    reasons = search(request()).reasons
    wrong = np.isin(reasons, MESH_REASONS).sum()
    assert 0 < wrong < len(wanted)
    settings = 4 * 10 * 2 * 4 * len(RECOMPUTE)
    assert len(cases) == wrong + (len(wanted) - wrong) * settings
    assert divisors(48) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 48]


def test_every_candidate_is_ranked_or_has_a_reason(gpt3: Search) -> None:
    counts = gpt3.counts()
    assert sum(counts.values()) == len(gpt3.cases) > 100_000
    assert counts[Reason.NONE] == len(gpt3.ranked) == len(set(gpt3.ranked.tolist())) > 1000
    assert not gpt3.reasons[gpt3.ranked].any()
    for reason in Reason:
        broke = np.flatnonzero(gpt3.reasons == reason)
        if len(broke):
            assert bool(gpt3.why(int(broke[0]))) == (reason != Reason.NONE)


def test_ranked_by_step_time_and_within_memory(gpt3: Search) -> None:
    assert np.all(np.diff(gpt3.step_s) >= 0)
    legal = take(gpt3.cases, gpt3.ranked)
    assert gpt3.step_s == pytest.approx(at_most(legal, gpt3.request))
    limit = gpt3.request.usable_bytes
    assert limit < A100.memory_bytes
    assert bytes_by_owner(legal).total.max() <= limit
    out = np.flatnonzero(gpt3.reasons == Reason.MEMORY)
    assert bytes_by_owner(take(gpt3.cases, out)).total.min() > limit
    assert f"{gpt3.memory_bytes[out[0]] / 2**30:.1f} GiB" in gpt3.why(int(out[0]))


def test_reasons_show_the_arithmetic(gpt3: Search) -> None:
    def why(**sizes: int) -> str:
        return gpt3.why(int(gpt3.matching(sizes)[0]))

    assert why(tp=16) == "nodes of 8 GPUs hold no whole groups of tp(16)"
    assert why(pp=64, tp=1, zero=3) == "num_layers(96) / pp(64) is not whole"
    assert why(dp=1024, micro_batch=4) == "global_batch(1536) / dp(1024) is not whole"
    assert "(pp(32) x virtual_stages(2))" in why(pp=32, tp=4, virtual_stages=2)
    assert "(dp(32) x micro_batch(32))" in why(dp=32, tp=4, micro_batch=32, virtual_stages=1)
    assert not len(gpt3.matching({"tp": 7}))


def test_tp_groups_stay_within_nodes_unless_told() -> None:
    def most_tp(**changes: Any) -> int:
        found = search(request(num_gpus=48, **changes))
        return int(found.cases.tp[found.ranked].max())

    assert most_tp() == 2  # 3 and 6 divide no node of 8
    assert most_tp(tp_across_nodes=True) == 6
    assert most_tp(hardware=dataclasses.replace(A100, gpus_per_node=6)) == 6
    # A single node has no border.
    found = search(request(num_gpus=6))
    assert int(found.cases.tp[found.ranked].max()) == 6


def test_the_best_are_the_fastest_when_all_are_simulated() -> None:
    found = search(request(model=planned_run("gpt_1_3b").model, num_gpus=8, global_batch=20))
    legal = take(found.cases, found.ranked)
    exact_s = step_time(legal, A100, software=MEGATRON, exact=True).total
    # What ranks is never too fast, and exact but for interleaving that does not come out even.
    odd = (legal.virtual_stages > 1) & (legal.micro_batches % legal.pp != 0)
    assert 10 < odd.sum() < len(odd) - 10
    assert found.step_s[~odd] == pytest.approx(exact_s[~odd])
    assert np.all(found.step_s[odd] > 0.999 * exact_s[odd])
    assert found.step_s[odd].max() < 2 * exact_s[odd].max()
    best, times = found.best(3)
    best_s = times.total
    assert best_s == pytest.approx(
        step_time(take(found.cases, best), A100, software=MEGATRON, exact=True).total
    )
    assert best_s[0] == pytest.approx(exact_s.min(), rel=1e-6)
    assert np.all(np.diff(best_s) >= 0)
    meshes = {(layout_of(found.cases, i).tp, layout_of(found.cases, i).pp) for i in best.tolist()}
    assert len(meshes) == 3


def test_the_best_among_some(gpt3: Search) -> None:
    best, times = gpt3.best(2, gpt3.matching({"tp": 8, "recompute": 2}))
    assert gpt3.cases.tp[best].tolist() == [8, 8]
    assert gpt3.cases.recompute[best].tolist() == [2, 2]
    assert times.total[0] < times.total[1]
    assert not len(gpt3.best(1, gpt3.matching({"tp": 16}))[0])


def test_memory_that_is_not_known_limits_nothing() -> None:
    unknown = dataclasses.replace(A100, memory_bytes=0.0)
    found = search(request(model=GPT3, num_gpus=8, global_batch=8, hardware=unknown))
    assert found.counts()[Reason.MEMORY] == 0 < len(found.ranked)


def test_can_run_agrees_with_the_search() -> None:
    for num_gpus in (8, 16, 40, 48, 56, 60, 64, 96):
        asked = request(model=GPT3, num_gpus=num_gpus, global_batch=96)
        assert can_run(asked) == bool(len(search(asked).ranked)), num_gpus


def test_an_impossible_number_of_gpus_has_the_nearest_possible_beside_it() -> None:
    asked = request(model=GPT3, num_gpus=100, global_batch=96)
    found = search(asked)
    assert not len(found.ranked)
    assert what_failed(found).endswith("is not whole")
    others = alternatives(asked)
    assert all(can_run(each.request) for each in others)
    fewer, more = (each.request.num_gpus for each in others[:2])
    between = [n for n in range(fewer + 1, more) if can_run(dataclasses.replace(asked, num_gpus=n))]
    assert fewer < 100 < more and not between
    assert others[0].words == f"{fewer} GPUs"


def test_a_batch_that_does_not_divide_has_the_nearest_that_does() -> None:
    asked = request(model=GPT3, num_gpus=1024, global_batch=1537)
    batches = {each.request.global_batch for each in alternatives(asked)}
    assert batches == {1537, 1536}


def test_too_little_memory_is_answered_with_more_gpus_larger_ones_and_offload() -> None:
    asked = request(model=GPT3, num_gpus=32, global_batch=96)
    assert "needs" in what_failed(search(asked)) and "GiB" in what_failed(search(asked))
    words = [each.words for each in alternatives(asked)]
    assert words[0].endswith("GPUs") and int(words[0].split()[0]) > 32
    assert "as many h200-141gb" in words and "--offload, slower" in words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_gpus": 0}, "num_gpus is 0"),
        ({"global_batch": -1}, "global_batch is -1"),
        ({"stack": 0.0}, "stack is 0.0"),
        (
            {"model": GPT3, "num_gpus": 720720, "global_batch": 735_134_400},
            "ask for rounder numbers",
        ),
    ],
)
def test_wrong_numbers_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        search(request(**changes))


def test_a_forecast_adds_up(gpt3: Search) -> None:
    best, second = forecasts(gpt3, gpt3.best(2)[0], tokens=300e9)
    assert sum(best.parts_s.values()) == pytest.approx(best.step_s)
    tokens = 1536 * 2048
    assert best.steps == -(-300e9 // tokens)
    assert best.days == pytest.approx(best.steps * best.step_s / 86400)
    assert best.gpu_hours == pytest.approx(best.days * 24 * 1024)
    assert best.mfu == pytest.approx(
        flops_per_token(GPT3) * tokens / (best.step_s * 1024 * A100.peak_flops_per_s["bf16"])
    )
    assert best.cost_usd[0] == pytest.approx(best.gpu_hours * A100.price_per_hour[0])
    assert best.energy_kwh == pytest.approx(best.gpu_hours * A100.power_w / 1000)
    assert best.step_s < second.step_s
    assert 0 < best.bubble_share < best.bubble_share + best.communication_share < 0.5
    run = dataclasses.replace(planned_run("gpt_175b"), layout=best.layout)
    assert check_layout(run, 1024).dp == best.layout.dp


def made_up(seconds: dict[str, float], **layout: Any) -> Forecast:
    """Return a forecast whose step has these parts."""
    found = search(request())
    base = forecasts(found, found.ranked[:1], tokens=1e6)[0]
    parts = dict.fromkeys(base.parts_s, 0.0) | seconds
    return dataclasses.replace(
        base, layout=Layout(**layout), parts_s=parts, step_s=sum(parts.values())
    )


def test_why_a_layout_is_slower_names_what_it_loses_and_gains() -> None:
    best = made_up({"gemm": 5.0, "tp": 1.0, "bubble": 1.0}, dp=8, pp=2, tp=2)
    other = made_up({"gemm": 5.0, "tp": 2.0, "bubble": 0.5}, dp=8, pp=1, tp=4)
    text = why_slower(best, other)
    assert text.startswith("tp 4 x pp 1 x dp 8 is 7.1% slower (+0.50 s): tp messages +1.00 s")
    assert "over 4 GPUs instead of 2" in text
    assert text.endswith("It gains less: bubble -0.50 s.")
    assert "matrix products" not in text


def test_the_lectures_ten_and_the_presets_have_names() -> None:
    for row in NARAYANAN_2021:
        run = planned_run(published_name(row))
        assert (run.model, run.train.global_batch) == (row.model, row.global_batch)
        assert num_parameters(run.model) == pytest.approx(row.parameters, rel=0.03)
    assert num_parameters(GPT3) == pytest.approx(175e9, rel=0.01)
    assert planned_run("small").model.d_model == 384
    with pytest.raises(ValueError, match="Did you mean gpt_145_6b"):
        planned_run("gpt_145b")


def test_cases_keep_their_single_numbers(gpt3: Search) -> None:
    some: Cases = take(gpt3.cases, gpt3.ranked[:5])
    assert some.d_model.ndim == 0 and len(some) == 5
