"""Planted bottlenecks: `--slow loader,heads` makes a run slower, and its result no other.

Each is a mistake that real training code makes. Lab 05 finds them with the profiler, and the tests
of the advisor check that it names each one first. Some only change the configuration, some replace
a piece; none of this is reached while `slow` is empty. The names are in config.py (BOTTLENECKS).
"""

import dataclasses
import time
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.config import ModelConfig, RunConfig, planted_bottlenecks
from course_lib.layout import check_layout
from course_lib.model.attention import sdpa
from course_lib.model.gpt import MLP, Attention, Block
from course_lib.parallel import comm
from course_lib.parallel.data import sum_gradients
from course_lib.parallel.mesh import Mesh
from course_lib.parallel.parallelize import DTYPES, ParallelModel
from course_lib.profile.regions import named

DISK_S = 0.01
"""What the planted loader takes for a sequence: a hard disk's seek."""
TOKENS_AT_A_TIME = 8
SMALL_BUCKET_MIB = 0.02


def slowed(run: RunConfig, world_size: int) -> RunConfig:
    """Return the run with the planted bottlenecks that are a matter of configuration.

    Raises:
        ValueError: a bottleneck needs a pipeline, and there is none.
    """
    names = planted_bottlenecks(run.train.slow)
    layout, train = run.layout, run.train
    if "bucket" in names:
        train = dataclasses.replace(train, bucket_mib=SMALL_BUCKET_MIB)
    if "recompute" in names:
        layout = dataclasses.replace(layout, recompute="full")
    if "checkpoint" in names:
        train = dataclasses.replace(train, checkpoint_every=1)
    if "fp32" in names:
        train = dataclasses.replace(train, precision="float32", grad_dtype="float32")
    for name in ("stages", "micro"):
        if name in names and layout.pp == 1:
            raise ValueError(f"slow {name} slows a pipeline down, but pp is 1: use --layout.pp 2")
    if "stages" in names:
        others = layout.pp * layout.virtual_stages - 1
        layout = dataclasses.replace(
            layout, stage_layers=(run.model.num_layers - others, *[1] * others)
        )
    if "micro" in names:
        replicas = check_layout(run, world_size).dp
        assert replicas is not None
        micro_batch = train.global_batch // replicas // layout.pp
        train = dataclasses.replace(train, micro_batch=micro_batch)
    return dataclasses.replace(run, layout=layout, train=train, model=slowed_model(run))


def slowed_model(run: RunConfig) -> ModelConfig:
    """Return the model that such a run has: it is not quite what config.json says, with "grain"."""
    if "grain" not in planted_bottlenecks(run.train.slow):
        return run.model
    return dataclasses.replace(run.model, d_ff=run.model.mlp_size - 1)


def reduce_instead(run: RunConfig) -> Callable[[nn.Module, Mesh], None] | None:
    """Return what sums the gradients over dp, if that is planted."""
    names = planted_bottlenecks(run.train.slow)
    if "reduce" in names:
        return lambda module, mesh: None  # each gradient was summed when it came
    dtype = DTYPES[run.train.grad_dtype]
    return partial(sum_gradients, dtype=dtype) if "overlap" in names else None


def plant(parallel: ParallelModel) -> None:
    """Replace pieces of a model by slower ones, in place."""
    mesh, names = parallel.mesh, planted_bottlenecks(parallel.run.train.slow)
    dtype = DTYPES[parallel.run.train.grad_dtype]
    for module in parallel.module.modules():
        if isinstance(module, Attention) and "attention" in names:
            module.core = named(_step_by_step, "layer", "core")
        if isinstance(module, Attention) and "heads" in names:
            module.core = named(_head_by_head, "layer", "core")
        if isinstance(module, MLP) and "tiny_ops" in names:
            module.forward = _in_portions(module.forward)
        last = mesh.rank == mesh.world_size - 1
        if isinstance(module, Block) and "straggler" in names and last:
            module.forward = _at_half_speed(module.forward)
    for parameter in parallel.module.parameters():
        if "sync" in names:
            parameter.register_hook(_check)
        if "reduce" in names and mesh.dp.size > 1:
            parameter.register_hook(
                lambda gradient: comm.all_reduce(
                    gradient.contiguous().to(dtype, copy=True), mesh.dp
                ).to(gradient.dtype)
            )


def load_when_needed(read: Callable[[int], Tensor], steps: range) -> Generator[Tensor, None, None]:
    """Yield the batch of every step, from a slow disk, while training waits."""
    for step in steps:
        batch = read(step)
        time.sleep(DISK_S * len(batch))
        yield batch


def _step_by_step(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend as the formula is written: four times (B, H, T, T) in memory."""
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    future = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool, device=q.device).triu(1)
    scores = scores.masked_fill(future, float("-inf"))
    weights = torch.exp(scores - scores.amax(-1, keepdim=True))
    return (weights / weights.sum(-1, keepdim=True)) @ v


def _head_by_head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend with one head of one sequence at a time."""
    rows = []
    for b in range(q.shape[0]):
        heads = [
            sdpa(*(x[b : b + 1, h : h + 1].contiguous() for x in (q, k, v)))
            for h in range(q.shape[1])
        ]
        rows.append(torch.cat(heads, dim=1))
    return torch.cat(rows)


def _in_portions(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def some_tokens_at_a_time(x: Tensor) -> Tensor:
        return torch.cat([forward(part) for part in x.split(TOKENS_AT_A_TIME, dim=1)], dim=1)

    return some_tokens_at_a_time


def _at_half_speed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def then_rest(*args: Any) -> Any:
        start_s = time.perf_counter()
        y = forward(*args)
        time.sleep(3 * (time.perf_counter() - start_s))  # backward will take twice as long
        return y

    return then_rest


def _check(gradient: Tensor) -> None:
    if not bool(torch.isfinite(gradient).all()):
        print("a gradient is not finite", flush=True)
