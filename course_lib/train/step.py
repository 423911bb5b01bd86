"""One training step: the only path from a batch to new weights, for every layout.

    loss = sum of all token losses / number of all tokens        (all: of the global batch)

The one division is where backward begins: the summed loss of every micro-batch gets the gradient 1
/ number of tokens, and from there on, over micro-batches, stages and ranks, everything is a sum. A
mean per micro-batch or per rank would be the classic mistake: it is right only while all of them
have the same number of tokens, and a wrong factor goes unnoticed, because Adam does not care about
the gradient's length.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.parallel import comm
from course_lib.parallel.parallelize import ParallelModel
from course_lib.profile.regions import region
from course_lib.train.optim import shorten, sum_of_squares, update
from course_lib.train.precision import LossScale


class NotFinite(FloatingPointError):
    """The loss or the gradient is infinite or not a number, so the step was not taken."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step tells about itself; the same on every rank."""

    loss: float
    """Mean token loss of the global batch before the update, nats."""
    grad_norm: float
    """Length of the full gradient before clipping."""
    stop: bool = False
    """Whether any rank was asked to stop (SIGTERM)."""
    taken: bool = True
    """Whether the weights changed; not with a gradient that fp16 could not hold."""


def compute_gradients(
    parallel: ParallelModel,
    batch_local: Tensor,
    *,
    micro_batch: int,
    global_tokens: int,
    loss_scale: float = 1.0,
    stop: bool = False,
) -> StepResult:
    """Give every shard the gradient of the mean loss of the global batch.

    Args:
        parallel: the model; old gradients are dropped first.
        batch_local: (B/dp, T + 1) tokens, this dp rank's share of the global batch.
        micro_batch: sequences to send through the model at once.
        global_tokens: target tokens in the whole global batch, all ranks together.
        loss_scale: a factor that the shards' gradients keep (fp16).
        stop: whether this rank was asked to stop.

    Returns:
        Loss, norm (without the scale), and whether any rank was asked to stop.
    """
    mesh = parallel.mesh
    batch_local = batch_local.to(mesh.device, non_blocking=True)
    loss_sum = parallel.forward_backward(batch_local.split(micro_batch), loss_scale / global_tokens)
    with region("reduce"):
        parallel.finish_gradients()
    with region("norm"):
        squares = sum_of_squares(parallel.shards)
        totals = torch.stack([loss_sum, squares, loss_sum.new_tensor(float(stop))])
        loss, square, stops = comm.all_reduce(totals, mesh.world).tolist()
    return StepResult(
        loss=loss / global_tokens,
        grad_norm=math.sqrt(square) / loss_scale if square >= 0 else math.nan,
        stop=stops > 0,
    )


def train_step(
    parallel: ParallelModel,
    optimizer: torch.optim.Optimizer,
    batch_local: Tensor,
    *,
    micro_batch: int,
    global_tokens: int,
    grad_clip: float,
    stop: bool = False,
    loss_scale: LossScale | None = None,
) -> StepResult:
    """Do one optimizer step on the global batch of which this rank holds a share.

    Args:
        parallel: the model.
        optimizer: over the model's shards, its learning rate already set.
        batch_local: (B/dp, T + 1) tokens.
        micro_batch: sequences to send through the model at once.
        global_tokens: target tokens in the whole global batch.
        grad_clip: a longer gradient is shortened to this length.
        stop: whether this rank was asked to stop.
        loss_scale: fp16's; None for types that hold small gradients.

    Raises:
        NotFinite: the loss or the gradient is no finite number; no weight was changed, and the
            message names ranks and parameter. With fp16, a gradient too large for the scale
            only makes the scale smaller and leaves the step out.
    """
    scale = 1.0 if loss_scale is None else loss_scale.value
    result = compute_gradients(
        parallel,
        batch_local,
        micro_batch=micro_batch,
        global_tokens=global_tokens,
        loss_scale=scale,
        stop=stop,
    )
    if not math.isfinite(result.grad_norm) or not math.isfinite(result.loss):
        if loss_scale is not None and math.isfinite(result.loss) and loss_scale.shrink():
            return StepResult(
                loss=result.loss, grad_norm=result.grad_norm, stop=result.stop, taken=False
            )
        raise NotFinite(_blame(parallel, result))
    if loss_scale is not None:
        loss_scale.grow()
    # fp16's scale leaves the gradients in the same pass over memory that clips them.
    with region("optimizer"):
        shorten(parallel.shards, min(1.0, grad_clip / max(result.grad_norm, 1e-30)) / scale)
        update(parallel, optimizer)
    return result


def evaluate(
    parallel: ParallelModel,
    batch_local: Tensor,
    *,
    micro_batch: int,
    global_tokens: int,
    rounds: int,
) -> float:
    """Return the mean token loss over all ranks' sequences, in nats, without learning from them.

    Args:
        parallel: the model.
        batch_local: (B_local, T + 1) tokens; dp ranks may have different numbers of them.
        micro_batch: sequences to send through the model at once.
        global_tokens: target tokens of all ranks together.
        rounds: micro-batches of the dp rank that has most: the others go along with made-up
            tokens that do not count, since a sharded model needs all ranks in every pass.

    Raises:
        NotFinite: the loss is no finite number.
    """
    mesh = parallel.mesh
    own = [part for part in batch_local.to(mesh.device).split(micro_batch) if len(part)]
    total = torch.zeros((), dtype=torch.float64, device=mesh.device)
    if own:
        total += parallel.forward(own)
    if len(own) < rounds:
        made_up = torch.zeros(1, batch_local.shape[1], dtype=torch.int64, device=mesh.device)
        parallel.forward([made_up] * (rounds - len(own)))
    mine = float(total)
    loss = float(comm.all_reduce(total, mesh.world)) / global_tokens
    if not math.isfinite(loss):
        raise NotFinite(f"the loss is {loss} (from {_ranks(parallel, math.isfinite(mine))})")
    return loss


def _blame(parallel: ParallelModel, result: StepResult) -> str:
    """Say which parameters' gradients, on which ranks, are to blame; every rank calls this."""
    bad = [
        shard.piece.name
        for shard in parallel.shards
        if shard.grad is not None and not bool(torch.isfinite(shard.grad).all())
    ]
    weights = [
        shard.piece.name
        for shard in parallel.shards
        if not bool(torch.isfinite(shard.weight).all())
    ]
    found = comm.all_gather_object((weights[:1], bad[:1], len(bad)), parallel.mesh.world)
    words = f"the loss is {result.loss:.4f} and the norm of its gradient {result.grad_norm}"
    for rank, (wrong_weights, _, _) in enumerate(found):
        if wrong_weights:
            return f"{words}: on rank {rank} the weight {wrong_weights[0]} is not finite"
    for rank, (_, wrong_gradients, count) in enumerate(found):
        if wrong_gradients:
            more = f" (and {count - 1} more)" if count > 1 else ""
            return (
                f"{words}: on rank {rank} the gradient of {wrong_gradients[0]} is not finite{more}"
            )
    return words


def _ranks(parallel: ParallelModel, finite: bool) -> str:
    flags = comm.all_gather_object(finite, parallel.mesh.world)
    bad = [str(rank) for rank, good in enumerate(flags) if not good]
    return f"rank {', '.join(bad)}"
