"""What lab 02 says and counts is what the kit's own plan, torch and the papers say."""

import dataclasses
import math

import pytest

from course_lib.grade.compare import run_config
from course_lib.grade.gpt_pretraining import counts, rates
from course_lib.plan.counts import flops_per_token, num_parameters
from course_lib.plan.memory import state_bytes
from course_lib.plan.published import NARAYANAN_2021
from course_lib.presets import nano
from course_lib.train.memory_step import profile_memory


@pytest.mark.parametrize("case", counts.SHAPES + counts.HIDDEN_SHAPES)
def test_parameters_are_those_of_the_plan(case) -> None:
    assert counts.built_parameters(*case) == num_parameters(counts.shape_config(*case))


@pytest.mark.parametrize("case", counts.STEPS + counts.HIDDEN_STEPS)
def test_flops_are_the_lecture_s_formula_and_the_plan_s(case) -> None:
    batch, seq, layers, d, vocab, recompute = case
    counted = counts.counted_flops(*case)
    if recompute:
        lecture = 96 * batch * seq * layers * d**2 * (1 + seq / (6 * d) + vocab / (16 * layers * d))
        assert counted == pytest.approx(lecture, rel=1e-12)
    else:
        config = counts.shape_config(layers, d, vocab, seq)
        assert counted == flops_per_token(config) * batch * seq


def test_a_token_costs_eight_flops_a_parameter_with_recomputation() -> None:
    run = NARAYANAN_2021[-1]
    layers, h = run.num_layers, run.d_model
    formula = 96 * layers * h**2 * (1 + 2048 / (6 * h) + 51200 / (16 * layers * h))  # of a token
    assert formula / run.parameters == pytest.approx(8, rel=0.02)
    assert 4 / 3 * flops_per_token(run.model) == pytest.approx(formula, rel=0.02)


def test_days_are_those_of_the_paper() -> None:
    """Section 5.1: 34 days for GPT-3 on 1024 GPUs, 84 for a trillion parameters on 3072."""
    assert [round(counts.days(*case)) for case in counts.TRAININGS[:2]] == [34, 84]


@pytest.mark.parametrize(
    ("precision", "grad_dtype"), [("float32", "float32"), ("bf16", "float32"), ("bf16", "bf16")]
)
def test_bytes_are_those_of_the_plan_but_for_the_steps_adamw_counts(precision, grad_dtype) -> None:
    run = nano()
    train = dataclasses.replace(run.train, precision=precision, grad_dtype=grad_dtype)
    planned = state_bytes(dataclasses.replace(run, train=train), 1)
    taught = counts.state(num_parameters(run.model), precision, grad_dtype)
    off = {part: planned[part] - taught[part] for part in counts.PARTS}
    assert [off[part] for part in ("weights", "gradients", "master")] == [0, 0, 0]
    tensors = 2 + 12 * run.model.num_layers + 2
    assert off["optimizer"] == 4 * tensors


def test_the_trainer_allocates_what_lab_02_counts() -> None:
    run = run_config(num_layers=2)
    profile = profile_memory(run)
    kept = {owner: curve[0] for owner, curve in profile.bytes_by_owner.items()}
    taught = counts.state(num_parameters(run.model), "float32", "float32")
    assert kept["parameters"] == taught["weights"] and kept["gradients"] == taught["gradients"]
    assert 0 < kept["optimizer"] - taught["optimizer"] < 4 * 100
    assert kept["activations"] == 0 and kept.get("master", 0) == 0
    full = dataclasses.replace(run, layout=dataclasses.replace(run.layout, recompute="full"))
    at_peak = [
        each.at_peak.bytes_by_owner["activations"] for each in (profile, profile_memory(full))
    ]
    assert at_peak[1] < at_peak[0]


@pytest.mark.parametrize("ways", [rates.WARMUPS, rates.DECAYS], ids=["warm-up", "decay"])
def test_no_two_ways_of_a_schedule_look_alike(ways) -> None:
    parts = {
        words: [
            rates._rate(way, step, each)
            for each in rates.SCHEDULES
            for step in (range(each[1]) if ways is rates.WARMUPS else range(each[1], each[0]))
        ]
        for words, way in ways.items()
    }
    found = list(parts.values())
    for index, one in enumerate(found):
        for other in found[:index]:
            assert any(
                not math.isclose(a, b, rel_tol=1e-6) for a, b in zip(one, other, strict=True)
            )
