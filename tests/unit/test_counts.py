"""Counts on paper against the model itself."""

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from course_lib.config import ModelConfig
from course_lib.model.gpt import GPT, summed_token_loss
from course_lib.plan.counts import (
    flops_per_token,
    matmul_parameters,
    num_parameters,
    operator_flops,
    step_flops,
)
from course_lib.presets import PRESETS, nano

CONFIGS = {name: preset().model for name, preset in PRESETS.items()} | {
    "untied": dataclasses.replace(nano().model, tied_head=False),
    "no biases": dataclasses.replace(nano().model, bias=False, d_ff=300),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_parameters_are_those_of_the_model(config: ModelConfig) -> None:
    with torch.device("meta"):
        model = GPT(config)
    assert num_parameters(config) == sum(p.numel() for p in model.parameters())
    matrices = sum(p.numel() for n, p in model.named_parameters() if p.dim() == 2)
    tables = config.seq_len * config.d_model
    tables += 0 if config.tied_head else config.vocab_size * config.d_model
    assert matmul_parameters(config) == matrices - tables


def test_nano_has_about_a_million() -> None:
    assert num_parameters(nano().model) == 1_071_872


def test_flops_are_those_that_torch_counts() -> None:
    config = nano().model
    model = GPT(config)
    tokens = torch.zeros(1, config.seq_len, dtype=torch.int64)
    # torch counts matrix products, and of attention's kernels only the plain one is made of them.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        summed_token_loss(model(tokens), tokens).backward()
    assert counter.get_total_flops() == flops_per_token(config) * config.seq_len


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_operators_add_up(config: ModelConfig) -> None:
    assert 3 * sum(operator_flops(config).values()) == flops_per_token(config)


@pytest.mark.parametrize("name", ["nano", "gpt_124m", "untied"])
def test_the_lecture_s_formula_is_ours_and_the_layers_once_more(name: str) -> None:
    """F = 96 B s l h^2 (1 + s/6h + V/16lh) computes every layer forwards twice, the head once."""
    config, batch = CONFIGS[name], 6
    shape = batch, config.seq_len, config.num_layers, config.d_model, config.vocab_size
    ours = batch * config.seq_len * flops_per_token(config)
    operators = operator_flops(config)
    again = batch * config.seq_len * (sum(operators.values()) - operators["head"])
    assert step_flops(*shape, recompute=False) == pytest.approx(ours, rel=1e-12)
    assert step_flops(*shape) == pytest.approx(ours + again, rel=1e-12)
