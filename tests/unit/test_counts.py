"""Counts on paper against the model itself."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from course_lib.model.gpt import GPT, summed_token_loss
from course_lib.plan.counts import flops_per_token, matmul_parameters, num_parameters
from course_lib.presets import PRESETS, nano


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_those_of_the_model(name: str) -> None:
    config = PRESETS[name]().model
    with torch.device("meta"):
        model = GPT(config)
    assert num_parameters(config) == sum(p.numel() for p in model.parameters())
    matrices = sum(p.numel() for n, p in model.named_parameters() if p.dim() == 2)
    assert matmul_parameters(config) == matrices - config.seq_len * config.d_model


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
