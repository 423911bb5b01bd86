"""Memory by owner: the papers' formulas and figures, the exact bytes of our own trainer."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from course_lib.config import Layout
from course_lib.plan.cases import FULL, NONE, SELECTIVE, Cases
from course_lib.plan.memory import peak_bytes, state_bytes
from course_lib.plan.owners import (
    Owners,
    bytes_by_owner,
    layer_bytes,
    layer_parameters,
    owner_names,
)
from course_lib.plan.published import NARAYANAN_2021
from course_lib.presets import nano, small

GIB = 2**30
A100_BYTES = 80e9

# Korthikanti et al. 2022 (arXiv:2205.05198), table 3: 22B, 175B, 530B and 1T; fp16 with float32
# gradients.
HIDDEN = np.array([6144, 12288, 20480, 25600])
KORTHIKANTI: dict[str, Any] = {
    "vocab_size": 51200,
    "seq_len": 2048,
    "num_layers": [48, 96, 105, 128],
    "num_heads": [64, 96, 128, 160],
    "d_model": HIDDEN,
    "d_ff": 4 * HIDDEN,
    "tied_head": True,
    "global_batch": [4, 64, 280, 512],
    "micro_batch": [4, 1, 1, 1],
    "dp": 1,
    "pp": [1, 8, 35, 64],
    "tp": 8,
    "sp": False,
    "virtual_stages": [1, 3, 3, 1],
    "zero": 0,
    "recompute": NONE,
    "weight_bytes": 2,
    "grad_bytes": 4,
    "offload": False,
    "fused_attention": False,
    "dropout": True,
}
# Its figure 1, GiB: weights to optimizer; activations without and with sp and selective recompute.
FIGURE_1_STATE = np.array([45.5625, 45.5625, 31.640625, 32.958984375])
FIGURE_1_PLAIN = np.array([59.25, 66.84375, 114.0234375, 131.25])
FIGURE_1_BOTH = np.array([9.5625, 12.3515625, 23.076171875, 26.5625])
# Its figure 7, percent of the activations without sp and recompute.
FIGURE_7 = {
    (True, NONE): [66.84, 62.04, 58.31, 58.31],
    (False, SELECTIVE): [49.42, 56.53, 62.04, 62.04],
    (True, SELECTIVE): [16.18, 18.49, 20.27, 20.27],
    (False, FULL): [7.64, 8.71, 9.42, 9.42],
}


def korthikanti(**changes: Any) -> Cases:
    return Cases(**KORTHIKANTI | changes)


def state(owners: Owners) -> np.ndarray:
    return owners.weights + owners.gradients + owners.master + owners.optimizer


def one(**changes: Any) -> Cases:
    """Return a single case of about a billion parameters, on one GPU."""
    values: dict[str, Any] = {
        "vocab_size": 32000,
        "seq_len": 2048,
        "num_layers": 18,
        "num_heads": 16,
        "d_model": 2048,
        "d_ff": 8192,
        "tied_head": True,
        "global_batch": 64,
        "micro_batch": 1,
        "dp": 1,
        "pp": 1,
        "tp": 1,
        "sp": False,
        "virtual_stages": 1,
        "zero": 0,
        "recompute": NONE,
        "weight_bytes": 2,
        "grad_bytes": 2,
        "offload": False,
        "fused_attention": True,
        "dropout": False,
    }
    return Cases(**values | changes)


def test_a_billion_parameters_need_the_lectures_14_9_gib() -> None:
    cases = one()
    owners = bytes_by_owner(cases)
    numbers = float(owners.weights) / 2
    assert 0.9e9 < numbers < 1.1e9
    assert float(state(owners)) / numbers * 1e9 / GIB == pytest.approx(14.9, abs=0.01)
    assert float(state(bytes_by_owner(one(weight_bytes=4, grad_bytes=4)))) / numbers == 16


def test_one_layers_activations_are_table_2() -> None:
    # Besides 34 / t: statistics of the layer norms, which the paper leaves out.
    s, h, t = 2048, HIDDEN, 8
    a, b = np.array(KORTHIKANTI["num_heads"]), np.array(KORTHIKANTI["micro_batch"])
    core = 5 * a * s / (h * t)
    for cases, recompute, formula in (
        (korthikanti(tp=1), NONE, 34 + core * t),
        (korthikanti(), NONE, 10 + 24 / t + core),
        (korthikanti(sp=True), NONE, 34 / t + core),
        (korthikanti(), SELECTIVE, 10 + 24 / t),
        (korthikanti(sp=True), SELECTIVE, 34 / t),
        (korthikanti(), FULL, 2),
    ):
        assert layer_bytes(cases, recompute) == pytest.approx(s * b * h * formula, rel=2e-4)


def test_fused_attention_and_no_dropout_keep_less() -> None:
    cases = korthikanti(tp=1, dropout=False)
    s_b_h = 2048 * HIDDEN * np.array(KORTHIKANTI["micro_batch"])
    a = np.array(KORTHIKANTI["num_heads"])
    assert layer_bytes(cases, NONE) == pytest.approx(s_b_h * (32 + 2 * a * 2048 / HIDDEN), rel=2e-3)
    fused = layer_bytes(cases.replace(fused_attention=True), NONE)
    assert fused == pytest.approx(s_b_h * 32, rel=2e-3)


def test_the_bars_of_figure_1_within_two_percent() -> None:
    # The figure draws layers only: a stage beside the first has no tables, the first one has most
    # micro-batches under way. The 22B model has a single stage.
    layers_only = state(bytes_by_owner(korthikanti(), stage=np.array([0, 1, 1, 1])))
    plain = layers_only + bytes_by_owner(korthikanti(), stage=0).activations
    both = korthikanti(sp=True, recompute=SELECTIVE)
    cut = layers_only + bytes_by_owner(both, stage=0).activations
    assert layers_only / GIB == pytest.approx(FIGURE_1_STATE, rel=0.02)
    assert plain / GIB == pytest.approx(FIGURE_1_STATE + FIGURE_1_PLAIN, rel=0.02)
    assert cut / GIB == pytest.approx(FIGURE_1_STATE + FIGURE_1_BOTH, rel=0.02)
    # The tables that the figure leaves out, on the stage that holds both.
    first = state(bytes_by_owner(korthikanti(), stage=0)) / GIB / FIGURE_1_STATE
    assert np.all((first > 1.015) & (first < 1.12))


def test_the_bars_of_figure_7_within_one_point() -> None:
    whole = layer_bytes(korthikanti(), NONE)
    for (sp, recompute), percent in FIGURE_7.items():
        ours = layer_bytes(korthikanti(sp=sp), recompute) / whole * 100
        assert ours == pytest.approx(np.array(percent), abs=1.0)


def test_interleaving_keeps_more_by_the_papers_factor() -> None:
    plain, interleaved = (
        bytes_by_owner(one(pp=3, virtual_stages=v, global_batch=64), stage=0).activations
        for v in (1, 3)
    )
    assert float(interleaved / plain) == pytest.approx(1 + (3 - 1) / (3 * 3))


def test_few_micro_batches_fill_no_pipeline() -> None:
    many, two = (
        bytes_by_owner(one(pp=6, global_batch=batch), stage=0).activations for batch in (64, 2)
    )
    assert float(many / two) == pytest.approx(3)


@pytest.mark.parametrize(
    ("zero", "shared"),
    [
        (0, set()),
        (1, {"master", "optimizer"}),
        (2, {"master", "optimizer", "gradients"}),
        (3, {"master", "optimizer", "gradients", "weights"}),
    ],
)
def test_zero_cuts_into_dp_parts(zero: int, shared: set[str]) -> None:
    whole, cut = bytes_by_owner(one()), bytes_by_owner(one(zero=zero, dp=8))
    for name in ("weights", "gradients", "master", "optimizer"):
        ratio = float(getattr(whole, name) / getattr(cut, name))
        assert ratio == (8 if name in shared else 1), name
    assert float(cut.activations) == float(whole.activations)


def test_offload_leaves_master_and_optimizer_to_the_host() -> None:
    here, there = bytes_by_owner(one()), bytes_by_owner(one(offload=True))
    assert float(there.master) == float(there.optimizer) == 0
    assert float(here.total - there.total) == float(here.master + here.optimizer)


def test_tables_and_logits_are_on_the_stages_that_hold_them() -> None:
    stages = np.arange(6)
    owners = bytes_by_owner(one(pp=6), stage=stages)
    table = 32000 * 2048 * 2
    layers = 3 * float(layer_parameters(one())) * 2
    assert owners.weights[1:5] == pytest.approx(layers)
    assert owners.weights[0] == pytest.approx(layers + table + 2048 * 2048 * 2)
    assert owners.weights[5] == pytest.approx(layers + table + 2 * 2048 * 2)
    assert not owners.logits[:5].any()
    assert np.all(np.diff(owners.activations[:5]) < 0)
    assert float(bytes_by_owner(one(pp=6)).total) == owners.total.max()


def test_an_untied_head_is_a_table_of_its_own() -> None:
    tied, untied = (bytes_by_owner(one(tied_head=tied)) for tied in (True, False))
    assert float(untied.weights - tied.weights) == 32000 * 2048 * 2


LAYOUTS = (
    Layout(),
    Layout(tp=2),
    Layout(tp=2, sp=True),
    Layout(pp=2),
    Layout(pp=2, virtual_stages=2, schedule="interleaved"),
    Layout(zero=1),
    Layout(zero=2),
    Layout(zero=3),
    Layout(recompute="full"),
    Layout(recompute="selective"),
    Layout(tp=2, pp=2, zero=1, sp=True),
)


@pytest.mark.parametrize("preset", [nano, small])
@pytest.mark.parametrize("types", [("float32", "float32"), ("bf16", "float32"), ("bf16", "bf16")])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_near_the_exact_bytes_of_our_own_trainer(preset, types, layout: Layout) -> None:
    run = preset()
    if layout.virtual_stages > 1 and preset is small:
        layout = dataclasses.replace(layout, virtual_stages=3)
    train = dataclasses.replace(run.train, precision=types[0], grad_dtype=types[1])
    run = dataclasses.replace(run, layout=layout, train=train)
    ranks = layout.tp * layout.pp * (2 if layout.zero else 1)
    cases = Cases.of([(run, ranks)])
    for stage in range(layout.pp):
        owners = bytes_by_owner(cases, stage=stage)
        exact = state_bytes(run, ranks, rank=stage * ranks // layout.pp)
        assert float(state(owners)[0]) == pytest.approx(sum(exact.values()), rel=2e-3)
    ratio = float(bytes_by_owner(cases).total[0]) / peak_bytes(run, ranks)
    assert (0.84 if layout.zero == 2 else 0.90) < ratio < 1.001


def test_what_was_trained_on_80_gb_fits() -> None:
    for row in NARAYANAN_2021:
        model = row.model
        cases = one(
            vocab_size=model.vocab_size,
            seq_len=model.seq_len,
            num_layers=model.num_layers,
            num_heads=model.num_heads,
            d_model=model.d_model,
            d_ff=model.mlp_size,
            global_batch=row.global_batch,
            micro_batch=row.micro_batch,
            dp=row.dp,
            pp=row.pp,
            tp=row.tp,
            virtual_stages=row.virtual_stages,
            recompute=FULL,
            grad_bytes=4,
            fused_attention=False,
            dropout=True,
        )
        # The authors needed all these GPUs' memory, but not more.
        assert 0.4 * A100_BYTES < float(bytes_by_owner(cases).total) < 0.8 * A100_BYTES, row.name


def test_many_cases_at_once_give_what_each_gives_alone() -> None:
    together = bytes_by_owner(one(tp=[1, 2, 4], zero=[0, 1, 3], dp=4, sp=[False, True, True]))
    for index, (tp, zero, sp) in enumerate(((1, 0, False), (2, 1, True), (4, 3, True))):
        alone = bytes_by_owner(one(tp=tp, zero=zero, dp=4, sp=sp))
        for name in owner_names():
            both = np.broadcast_to(getattr(together, name), 3)[index], getattr(alone, name)
            assert float(both[0]) == float(both[1]), name
