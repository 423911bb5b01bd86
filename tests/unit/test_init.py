"""A weight depends on the seed, its name and its shape: not on its neighbours, not on the order."""

import dataclasses
import math

import torch

from course_lib.model.gpt import GPT, summed_token_loss
from course_lib.model.init import init_weights, initial_weight
from course_lib.presets import tiny

CONFIG = tiny().model
NAME, SHAPE = "blocks.0.mlp.up.weight", (128, 32)


def test_same_alone_and_in_the_model() -> None:
    torch.manual_seed(99)  # must not matter
    model = GPT(CONFIG)
    init_weights(model, CONFIG, seed=1)
    alone = initial_weight(NAME, SHAPE, seed=1, config=CONFIG)
    assert torch.equal(model.get_parameter(NAME), alone)
    deeper = GPT(dataclasses.replace(CONFIG, num_layers=5))
    init_weights(deeper, deeper.config, seed=1)
    assert torch.equal(deeper.get_parameter(NAME), alone)


def test_every_ingredient_matters() -> None:
    first = initial_weight(NAME, SHAPE, seed=1, config=CONFIG)
    others = [
        initial_weight(NAME, SHAPE, seed=2, config=CONFIG),
        initial_weight("blocks.1.mlp.up.weight", SHAPE, seed=1, config=CONFIG),
        initial_weight(NAME, (32, 128), seed=1, config=CONFIG).reshape(SHAPE),
    ]
    for other in others:
        assert not torch.equal(first, other)


def test_sizes_of_the_numbers() -> None:
    model = GPT(CONFIG)
    init_weights(model, CONFIG, seed=1)
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            assert (weight == 0).all(), name
        elif "norm" in name:
            assert (weight == 1).all(), name
        else:
            residual = name.endswith(("attention.out.weight", "mlp.down.weight"))
            expected = 0.02 / math.sqrt(2 * CONFIG.num_layers) if residual else 0.02
            assert abs(weight.std().item() / expected - 1) < 0.1, name


def test_first_loss_is_that_of_guessing() -> None:
    model = GPT(CONFIG)
    init_weights(model, CONFIG, seed=1)
    tokens = torch.randint(CONFIG.vocab_size, (8, 33), generator=torch.Generator().manual_seed(0))
    loss = summed_token_loss(model(tokens[:, :-1]), tokens[:, 1:]).item() / (8 * 32)
    assert abs(loss - math.log(CONFIG.vocab_size)) < 0.05
