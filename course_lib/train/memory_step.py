"""One training step with its memory recorded: whose bytes are alive, when.

`memory_step` takes the same step as `train_step`, to the bit, while the recorder of
profile/memory_timeline.py watches; here is what that cannot know by itself: which tensors are
weights, masters, optimizer state, gradients and messages. A recorded step is slower, so it does not
belong in a timing. Lab 05 records with it. `profile_memory` builds a run's model for that alone,
for the notebook of lab 02.
"""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.config import RunConfig
from course_lib.model.attention import Attention
from course_lib.model.gpt import GPT
from course_lib.model.product import widened
from course_lib.parallel.launch import run_ranks
from course_lib.parallel.mesh import Mesh
from course_lib.parallel.parallelize import ParallelModel, parallelize
from course_lib.parallel.zero import Sharded
from course_lib.plan.memory import peak_bytes
from course_lib.profile.memory_profile import MemoryProfile
from course_lib.profile.memory_timeline import MemoryTimeline, watch_gradients, watch_layers
from course_lib.train.optim import build_optimizer
from course_lib.train.prepare import choose_attention
from course_lib.train.step import StepResult, train_step

PROFILE_LIMIT_S = 120.0
"""How long `profile_memory` may take."""


def memory_step(
    parallel: ParallelModel,
    optimizer: torch.optim.Optimizer,
    batch_local: Tensor,
    *,
    step: int,
    attention: Attention = "sdpa",
    **options: Any,
) -> tuple[StepResult, MemoryProfile]:
    """Do one optimizer step and return, beside its result, what this rank's memory held.

    Args:
        parallel: the model.
        optimizer: over the model's shards.
        batch_local: (B/dp, T + 1) tokens.
        step: its number, for the record.
        attention: the core that computes, for the plan.
        options: the others of `train_step`.

    Raises:
        NotFinite: as `train_step` does.
    """
    mesh = parallel.mesh
    batch_local = batch_local.to(mesh.device)
    timeline = MemoryTimeline(mesh.device)
    timeline.label("data", [batch_local])
    _label_state(timeline, parallel, optimizer)
    with (
        watch_layers(timeline, named_layers(parallel)),
        watch_gradients(timeline, parallel.gradients.slots),
        _watch_passing(timeline, parallel, optimizer),
        timeline,
    ):
        result = train_step(parallel, optimizer, batch_local, **options)
        # The first step has made the optimizer's state.
        _label_state(timeline, parallel, optimizer)
    planned = peak_bytes(
        parallel.run,
        mesh.world_size,
        mesh.rank,
        attention=attention,
        widened=widened(next(parallel.module.parameters())),
    )
    return result, timeline.profile(rank=mesh.rank, step=step, planned_peak_bytes=planned)


def profile_memory(run: RunConfig) -> MemoryProfile:
    """Return the memory of a run's second step on one rank, a CPU process, with made-up tokens.

    The second, as the optimizer makes its state in the first. What the tokens are changes no byte.

    Args:
        run: its layout must fit one rank.
    """
    [profile] = run_ranks(functools.partial(_second_step, run=run), 1, timeout_s=PROFILE_LIMIT_S)
    return profile


def _second_step(mesh: Mesh, run: RunConfig) -> MemoryProfile:
    with torch.device("meta"):
        model = GPT(run.model)
    attention = choose_attention(run, mesh)
    parallel = parallelize(model, run, mesh, attention=attention)
    optimizer = build_optimizer(parallel, run.train)
    batch = torch.zeros(run.train.global_batch, run.model.seq_len + 1, dtype=torch.int64)
    options: dict[str, Any] = {
        "micro_batch": run.train.micro_batch,
        "global_tokens": run.train.global_batch * run.model.seq_len,
        "grad_clip": run.train.grad_clip,
    }
    train_step(parallel, optimizer, batch, **options)
    _, profile = memory_step(parallel, optimizer, batch, step=2, attention=attention, **options)
    return profile


def named_layers(parallel: ParallelModel) -> dict[str, nn.Module]:
    """Return this rank's layers by name: tokens, positions, blocks.0 and so on, norm, head."""
    layers: dict[str, nn.Module] = {}
    for chunk in parallel.module:
        for name, part in chunk.named_children():
            layers |= {f"{name}.{n}": block for n, block in part.named_children()} or {name: part}
    return layers


def _label_state(
    timeline: MemoryTimeline, parallel: ParallelModel, optimizer: torch.optim.Optimizer
) -> None:
    gradients = parallel.gradients
    if isinstance(gradients, Sharded):
        timeline.label("parameters", gradients.own_weights.values())
        # Stage 3 computes with weights that it has fetched; at the others these are the same.
        timeline.label("buffers", (bucket.weights for bucket in gradients.buckets))
    timeline.label("parameters", (parameter.detach() for parameter in gradients.slots))
    timeline.label("master", (shard.weight for shard in parallel.shards))
    timeline.label("gradients", (s.grad for s in parallel.shards if s.grad is not None))
    states = (state for state in optimizer.state.values())
    timeline.label("optimizer", (x for s in states for x in s.values() if torch.is_tensor(x)))


@contextlib.contextmanager
def _watch_passing(
    timeline: MemoryTimeline, parallel: ParallelModel, optimizer: torch.optim.Optimizer
) -> Iterator[None]:
    """Label the memory in which gradients travel, and their copies for the optimizer, if any."""
    gradients = parallel.gradients

    def collected(parameter: nn.Parameter) -> None:
        timeline.label("buffers", gradients.under_way)

    def copied(*args: object) -> None:
        copies = (shard.weight.grad for shard in parallel.shards)
        timeline.label("gradients", (copy for copy in copies if copy is not None))

    # After the trainer's own hook, which was there first and has put the gradient into a bucket.
    handles = [p.register_post_accumulate_grad_hook(collected) for p in gradients.slots]
    handles.append(optimizer.register_step_pre_hook(copied))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
