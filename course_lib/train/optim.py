"""The optimizer, its learning rate, and the one norm by which gradients are clipped.

AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) with two groups: matrices and tables decay,
biases and norms do not, since pulling a norm's scale to zero would switch the layer off. It updates
the rank's shards, flat pieces in float32, whatever the layout. `fused` does the update of a piece
in one pass over memory: on a CPU five times faster than the plain loop. The learning rate rises
linearly and then falls along half a cosine, or stays and falls in a straight line at the end (wsd:
warm-up, stable, decay; Hu et al. 2024, arXiv:2404.06395, section 4).
"""

import math

import torch
from torch import Tensor

from course_lib.config import TrainConfig
from course_lib.parallel.data import Shard
from course_lib.parallel.eager import eager
from course_lib.parallel.parallelize import ParallelModel


def build_optimizer(
    parallel: ParallelModel, config: TrainConfig, *, fused: bool = True
) -> torch.optim.Optimizer:
    """Return AdamW over this rank's shards; `learning_rate` sets its lr before every step.

    Args:
        parallel: the model.
        config: its weight decay and betas.
        fused: whether each shard is updated in one pass over memory.
    """
    decays = [shard.weight for shard in parallel.shards if shard.decay]
    others = [shard.weight for shard in parallel.shards if not shard.decay]
    groups = [
        {"params": decays, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    betas = (config.beta1, config.beta2)
    groups = [group for group in groups if group["params"]]
    return eager(torch.optim.AdamW)(groups, lr=config.lr, betas=betas, fused=fused, foreach=False)


@torch.no_grad()
def update(parallel: ParallelModel, optimizer: torch.optim.Optimizer) -> None:
    """Take the optimizer's step on this rank's shards and give the new weights to the model."""
    for shard in parallel.shards:
        assert shard.grad is not None
        shard.weight.grad = shard.grad.to(shard.weight.dtype)
    optimizer.step()
    for shard in parallel.shards:
        shard.weight.grad = None
    parallel.publish()


def sum_of_squares(shards: list[Shard]) -> Tensor:
    """Return this rank's part of the squared norm of the whole gradient, ()+world, float64.

    Every number of the model is counted by one rank only (`Shard.counted`), however many hold it.
    """
    counted = [shard.grad for shard in shards if shard.counted and shard.grad is not None]
    if not counted:
        device = shards[0].weight.device if shards else None
        return torch.zeros((), dtype=torch.float64, device=device)
    wide = torch.float64 if counted[0].dtype is torch.float64 else torch.float32
    norms = [torch.linalg.vector_norm(gradient, dtype=wide) for gradient in counted]
    return torch.stack(norms).double().square().sum()


def shorten(shards: list[Shard], factor: float) -> None:
    """Multiply the gradient by a factor, in place; by 1 it costs nothing."""
    if factor != 1.0:
        for shard in shards:
            assert shard.grad is not None
            shard.grad.mul_(factor)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the learning rate of a step (0 is the first)."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    lowest = config.lr * config.min_lr_fraction
    last = config.steps - 1
    if config.lr_schedule == "cosine":
        done = (step - config.warmup_steps) / max(1, last - config.warmup_steps)
        return lowest + (config.lr - lowest) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    falls_from = max(config.warmup_steps, last - round(config.decay_fraction * config.steps))
    done = max(0, step - falls_from) / max(1, last - falls_from)
    return config.lr - (config.lr - lowest) * min(done, 1.0)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr
