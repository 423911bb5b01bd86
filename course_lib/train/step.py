"""One training step: the only path from a batch to new weights, for every layout.

    loss = sum of all token losses / number of all tokens        (all: of the global batch)

A rank sums over its micro-batches, `reduce` sums over the ranks, and then comes the one division,
by the global token count. A mean per micro-batch or per rank would be the classic mistake: it is
right only while all of them have the same number of tokens, and a wrong factor goes unnoticed,
because Adam does not care about the gradient's length. Left out on purpose: loss scaling for
fp16, which fp32 does not need.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.model.gpt import summed_token_loss
from course_lib.parallel import comm
from course_lib.parallel.parallelize import ParallelModel


class NotFinite(FloatingPointError):
    """The loss or the gradient is infinite or not a number, so the step was not taken."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step tells about itself; the same on every rank."""

    loss: float
    """Mean token loss of the global batch before the update, nats."""
    grad_norm: float
    """Length of the full gradient before clipping."""


def compute_gradients(
    parallel: ParallelModel, batch_local: Tensor, *, micro_batch: int, global_tokens: int
) -> float:
    """Fill every parameter's `.grad` with that of the mean loss of the global batch.

    Args:
        parallel: the model; old gradients are dropped first.
        batch_local: (B/dp, T + 1) tokens, this rank's share of the global batch.
        micro_batch: sequences to send through the model at once.
        global_tokens: target tokens in the whole global batch, all ranks together.

    Returns:
        The mean token loss of the global batch, in nats, the same on every rank.

    Raises:
        NotFinite: the loss is no finite number; raised on all ranks, and the message names those
            whose share it came from.
    """
    parallel.module.zero_grad(set_to_none=True)
    loss_sum_local = torch.zeros((), dtype=torch.float64, device=parallel.mesh.device)
    for tokens in batch_local.to(parallel.mesh.device).split(micro_batch):
        loss = summed_token_loss(parallel.module(tokens[:, :-1]), tokens[:, 1:])
        loss.backward()  # adds to what the micro-batches before it left in .grad
        loss_sum_local += loss.detach()
    parallel.reduce(parallel.module, parallel.mesh)
    for gradient in gradients_of(parallel.module):
        gradient.div_(global_tokens)
    return _mean_loss(parallel, loss_sum_local, global_tokens)


def train_step(
    parallel: ParallelModel,
    optimizer: torch.optim.Optimizer,
    batch_local: Tensor,
    *,
    micro_batch: int,
    global_tokens: int,
    grad_clip: float,
) -> StepResult:
    """Do one optimizer step on the global batch of which this rank holds a share.

    Args:
        parallel: the model.
        optimizer: over the model's parameters, its learning rate already set.
        batch_local: (B/dp, T + 1) tokens.
        micro_batch: sequences to send through the model at once.
        global_tokens: target tokens in the whole global batch.
        grad_clip: a longer gradient is shortened to this length.

    Raises:
        NotFinite: the loss or the gradient is no finite number; no weight was changed.
    """
    loss = compute_gradients(
        parallel, batch_local, micro_batch=micro_batch, global_tokens=global_tokens
    )
    gradients = gradients_of(parallel.module)
    # Every rank has the full gradient, so each computes the same norm and no one needs to ask.
    grad_norm = float(nn.utils.get_total_norm(gradients))
    if not math.isfinite(grad_norm):
        raise NotFinite(f"the loss is {loss:.4f}, but the norm of its gradient is {grad_norm}")
    if grad_norm > grad_clip:
        for gradient in gradients:
            gradient.mul_(grad_clip / grad_norm)
    optimizer.step()
    return StepResult(loss=loss, grad_norm=grad_norm)


@torch.no_grad()
def evaluate(
    parallel: ParallelModel, batch_local: Tensor, *, micro_batch: int, global_tokens: int
) -> float:
    """Return the mean token loss over all ranks' sequences, in nats, without learning from them.

    Args:
        parallel: the model.
        batch_local: (B_local, T + 1) tokens; ranks may have different numbers of them.
        micro_batch: sequences to send through the model at once.
        global_tokens: target tokens of all ranks together.

    Raises:
        NotFinite: the loss is no finite number.
    """
    loss_sum_local = torch.zeros((), dtype=torch.float64, device=parallel.mesh.device)
    for tokens in batch_local.to(parallel.mesh.device).split(micro_batch):
        if len(tokens):
            loss_sum_local += summed_token_loss(parallel.module(tokens[:, :-1]), tokens[:, 1:])
    return _mean_loss(parallel, loss_sum_local, global_tokens)


def gradients_of(model: nn.Module) -> list[Tensor]:
    """Return the gradients that are there, in the order of the parameters."""
    return [p.grad for p in model.parameters() if p.grad is not None]


def _mean_loss(parallel: ParallelModel, loss_sum_local: Tensor, global_tokens: int) -> float:
    """Return the mean over all ranks of ()+dp, or raise NotFinite on all of them."""
    mine = float(loss_sum_local)
    loss = float(comm.all_reduce(loss_sum_local, parallel.mesh.dp)) / global_tokens
    if not math.isfinite(loss):
        finite = comm.all_gather_object(math.isfinite(mine), parallel.mesh.dp)
        ranks = ", ".join(str(rank) for rank, good in enumerate(finite) if not good)
        raise NotFinite(f"the loss is {loss} (from rank {ranks})")
    return loss
