"""Initial weights that depend on nothing but the seed, a weight's name and its global shape.

The usual way, one random generator for the whole model, gives each weight whatever numbers are
next in the stream: cut the model differently and every weight changes. Here each weight has its
own generator, seeded by hash(seed, name, shape), so a rank that holds one layer, or one half of a
matrix, can draw exactly the numbers that a single process would. Values are those of GPT-2: normal
with deviation 0.02, and 0.02 / sqrt(2 L) where a block writes to the residual stream, so that L
blocks together do not make it grow. Biases are zero, norms one.
"""

import hashlib
import math

import torch
from torch import Tensor, nn

from course_lib.config import ModelConfig


def initial_weight(name: str, shape: tuple[int, ...], *, seed: int, config: ModelConfig) -> Tensor:
    """Return the full initial value of one weight, float32 on the CPU.

    Args:
        name: its name in the whole model, for example "blocks.0.mlp.up.weight".
        shape: its full shape, not a rank's part of it.
        seed: the run's seed.
        config: the model's shape (the number of layers sets the scale).
    """
    if name.endswith("bias"):
        return torch.zeros(shape)
    if len(shape) == 1:
        return torch.ones(shape)  # the scale of a layer norm
    deviation = 0.02
    if name.endswith(("attention.out.weight", "mlp.down.weight")):
        deviation /= math.sqrt(2 * config.num_layers)
    # Python's own hash() differs between processes; this one is the same everywhere.
    digest = hashlib.sha256(f"{seed}/{name}/{'x'.join(map(str, shape))}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randn(shape, generator=generator) * deviation


@torch.no_grad()
def init_weights(model: nn.Module, config: ModelConfig, seed: int) -> None:
    """Fill every parameter of the whole model in place, keeping its dtype and device."""
    for name, parameter in model.named_parameters():
        parameter.copy_(initial_weight(name, tuple(parameter.shape), seed=seed, config=config))
