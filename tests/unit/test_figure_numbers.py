"""What the figures of systems and memory show, against formulas, tables and torch."""

import pytest
import torch

from course_lib.layout import micro_batches
from course_lib.plan.hardware import find_hardware
from course_lib.plan.memory import peak_bytes
from course_lib.plan.models import TOKENS
from course_lib.plan.published import NARAYANAN_2021, SEQ_LEN, VOCAB_SIZE
from slides.figures import (
    activations,
    bottlenecks,
    checkpointing,
    days_on_dgx,
    formula_terms,
    memory_states,
    messages_of_a_block,
    number_formats,
    offload,
    sharding,
)

GIB = 2**30


@pytest.mark.parametrize("row", NARAYANAN_2021, ids=lambda row: row.name)
def test_terms_are_those_of_the_formula(row):
    layers, attention, head = formula_terms.shares(row)
    assert layers + attention + head == pytest.approx(1)
    assert attention / layers == pytest.approx(SEQ_LEN / (6 * row.d_model))
    assert head / layers == pytest.approx(VOCAB_SIZE / (16 * row.num_layers * row.d_model))


def test_the_lectures_weeks_and_years_come_out_of_the_short_estimate():
    rows = [NARAYANAN_2021[index] for index in days_on_dgx.ROWS]
    short = [8 * TOKENS * row.parameters / (8 * 140e12) / 86_400 for row in rows]
    assert [round(days / 7) for days in short[:2]] == [6, 65]
    assert short[2] / 365.25 == pytest.approx(5, abs=0.5)
    assert short[3] / 365.25 == pytest.approx(69, abs=1)
    for row, days in zip(rows, short, strict=True):  # and ours are near them
        assert days_on_dgx.days(row, 1) == pytest.approx(days, rel=0.15)
        assert days_on_dgx.days(row, 4) == pytest.approx(days_on_dgx.days(row, 1) / 4)


def test_gpt3_takes_as_long_as_the_paper_says():
    assert bottlenecks.days_without_loss() == pytest.approx(34, abs=1)


def test_a_billion_parameters_are_14_9_gib():
    each = memory_states.bytes_per_parameter()
    assert each == {"weights": 2, "gradients": 2, "master": 4, "optimizer": 8}
    assert f"{sum(each.values()) * 1e9 / GIB:.1f} GiB" in memory_states.ALT


# Korthikanti et al. 2022, Figure 1, GiB: everything kept; attention recomputed, sequence cut.
FIGURE_1 = {
    "22B": (59.25, 9.56),
    "175B": (66.84, 12.35),
    "530B": (114.02, 23.08),
    "1T": (131.25, 26.56),
}


@pytest.mark.parametrize("name", FIGURE_1)
def test_activations_are_those_that_were_published(name):
    _, (everything, selective, full) = activations.state_and_activations(name)
    assert (everything / GIB, selective / GIB) == pytest.approx(FIGURE_1[name], rel=0.03)
    assert full < selective


def test_a_layer_keeps_what_the_published_formulas_say():
    s, b, h, a, t = 2048, 4, 6144, 64, 8
    expected = [
        s * b * h * (10 + 24 / t + 5 * a * s / (h * t)),
        s * b * h * (34 / t + 5 * a * s / (h * t)),
        s * b * h * (10 + 24 / t),
        s * b * h * 34 / t,
        2 * s * b * h,
    ]
    assert checkpointing.kept_bytes() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("FP32", torch.float32),
        ("BF16", torch.bfloat16),
        ("FP16", torch.float16),
        ("FP8 E4M3", torch.float8_e4m3fn),
        ("FP8 E5M2", torch.float8_e5m2),
    ],
)
def test_formats_are_those_of_torch(name, dtype):
    (shown,) = [each for each in number_formats.FORMATS if each.name == name]
    found = torch.finfo(dtype)
    assert (1 + shown.exponent + shown.fraction, shown.largest) == (found.bits, found.max)
    assert 2.0**-shown.fraction == found.eps


def test_messages_of_a_block_add_up_to_the_steps():
    run = messages_of_a_block.planned()
    model, layout = run.model, run.layout
    layers, count = model.num_layers // layout.pp, micro_batches(run, layout)
    activation, square = 2 * model.seq_len * model.d_model, 2 * model.d_model**2 / layout.tp
    sent = messages_of_a_block.totals()
    # Forward 4 of them; backward as many, and the two inputs gathered once more.
    assert sent["tp"] == pytest.approx(count * layers * 10 * activation * 7 / 8, rel=1e-3)
    assert sent["pp"] == count * 2 * activation // layout.tp
    assert sent["dp"] == pytest.approx(2 * 15 / 16 * layers * 12 * square, rel=1e-3)
    for axis, words in (("tp", "507 GB"), ("dp", "10 for dp"), ("pp", "1 for pp")):
        assert words in messages_of_a_block.ALT and words.startswith(f"{sent[axis] / 1e9:.0f} ")


@pytest.mark.parametrize("way", sharding.WAYS)
def test_peaks_are_told_in_words(way):
    peak = peak_bytes(sharding.planned(**sharding.WAYS[way]), sharding.NUM_GPUS)
    assert f"{peak / 1e9:.0f} GB" in sharding.ALT


@pytest.mark.parametrize("gpu", ["a100-80gb", "h100-80gb"])
def test_pcie_carries_four_bytes_a_parameter(gpu):
    hardware = find_hardware(gpu)
    parameters = GIB * offload.states()["GPU"] / 16
    carried_s = 4 * parameters / hardware.host_bytes_per_s
    computed_s = 8 * parameters * SEQ_LEN / hardware.peak_flops_per_s["bf16"]
    share = offload.pcie_share(gpu)
    assert share[0] < carried_s / (carried_s + computed_s)  # computing takes longer than at peak
    assert (share[1:] < share[:-1]).all()
    times = (1 - share) / share * carried_s
    assert times[-1] > 256 * computed_s


def test_states_on_gpu_and_host_are_told_in_words():
    kept, on_gpu, on_host = offload.states().values()
    assert on_gpu == pytest.approx(kept / 4) and on_host == pytest.approx(3 * kept / 4)
    words = [f"{each:.0f}" for each in (kept, on_gpu, on_host)]
    assert all(word in offload.ALT for word in words)
