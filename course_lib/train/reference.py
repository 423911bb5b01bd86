"""What the parts of a step cost on this machine when they are done well.

An advisor that reads a trace knows what the run did, and not what it could have done. So while a
profile is recorded each rank also times, on its own shapes and at the same time as the others, the
standard attention core, the standard MLP, the fused optimizer, matrix products in both types and
with rounded sizes, and a copy. It takes a fraction of a second. The advisor (profile/advisor.py)
compares. Left out on purpose: communication, which profile/comm_bench.py measures.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.model.attention import ATTENTIONS, fastest_attention
from course_lib.model.product import cpu_multiplies_bf16, linear
from course_lib.parallel import comm
from course_lib.parallel.parallelize import DTYPES, ParallelModel
from course_lib.profile.comm_bench import measure_copy
from course_lib.profile.timing import measure_peak_flops, synchronize

REPEATS = 5
GRAIN = 16
"""Sizes are rounded up to a multiple of it to see whether the hardware likes that better."""
MOST_NUMBERS = 2**22
"""The optimizer is timed on so many numbers at most: it needs three times their memory more."""


def measure_references(parallel: ParallelModel) -> dict[str, Any]:
    """Time what the advisor compares with; all ranks call this together.

    Returns:
        Seconds of a forward and backward pass for a micro-batch (`attention_s`, `mlp_s`, with
        its hidden size rounded up `rounded_mlp_s`, and for half of the sequences `half_mlp_s`), of
        an update per number (`adamw_s_per_number`), FLOP/s by type (`matmul_flops_per_s`), and
        bytes read and written per second (`copy_bytes_per_s`).
    """
    run, mesh = parallel.run, parallel.mesh
    dtype, device = DTYPES[run.train.precision], mesh.device
    model = run.model
    comm.barrier(mesh.world)
    shape = (
        run.train.micro_batch, model.num_heads // mesh.tp.size, model.seq_len, model.head_size,
    )  # fmt: skip
    core = ATTENTIONS[fastest_attention(shape, dtype, device.type)]
    qkv = [torch.randn(shape, device=device).to(dtype).requires_grad_() for _ in range(3)]
    x = torch.randn(run.train.micro_batch, model.seq_len, model.d_model, device=device).to(dtype)
    x.requires_grad_()
    hidden = model.mlp_size // mesh.tp.size
    ways: dict[str, Callable[[], Tensor]] = {"attention_s": lambda: core(*qkv)}
    half = x.detach()[: max(1, len(x) // 2)].requires_grad_()
    for name, size, given in (
        ("mlp_s", hidden, x),
        ("rounded_mlp_s", -(-hidden // GRAIN) * GRAIN, x),
        ("half_mlp_s", hidden, half),
    ):
        up = torch.randn(size, model.d_model, device=device).to(dtype).requires_grad_()
        down = torch.randn(model.d_model, size, device=device).to(dtype).requires_grad_()
        ways[name] = lambda x=given, up=up, down=down: linear(F.gelu(linear(x, up)), down)
    found = {
        **_seconds(ways, device),
        "adamw_s_per_number": _adamw(parallel),
        "matmul_flops_per_s": {
            name: measure_peak_flops(device, DTYPES[name], duration_s=0.05)
            for name in _worth_timing(device)
        },
        "copy_bytes_per_s": measure_copy(device, round_s=0.0),
    }
    comm.barrier(mesh.world)
    return found


def _seconds(ways: dict[str, Callable[[], Tensor]], device: torch.device) -> dict[str, float]:
    """Return by name the median time of a forward and backward pass, all ways in turn."""
    times_s: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS + 1):  # the first round warms up
        for name, forward in ways.items():
            synchronize(device)
            start_s = time.perf_counter()
            y = forward()
            y.backward(torch.ones_like(y))
            synchronize(device)
            times_s[name].append(time.perf_counter() - start_s)
    return {name: statistics.median(times[1:]) for name, times in times_s.items()}


def _adamw(parallel: ParallelModel) -> float:
    numbers, weights = 0, []
    for shard in parallel.shards:
        if numbers + len(shard.weight) > MOST_NUMBERS and weights:
            break
        weights.append(torch.zeros_like(shard.weight).requires_grad_())
        weights[-1].grad = torch.zeros_like(shard.weight)
        numbers += len(shard.weight)
    optimizer = torch.optim.AdamW(weights, fused=True)
    device, times_s = parallel.mesh.device, []
    for _ in range(REPEATS + 1):
        synchronize(device)
        start_s = time.perf_counter()
        optimizer.step()
        synchronize(device)
        times_s.append(time.perf_counter() - start_s)
    return statistics.median(times_s[1:]) / max(1, numbers)


def _worth_timing(device: torch.device) -> list[str]:
    """Return the types whose products this device has instructions for."""
    return ["float32", "bf16"] if device.type != "cpu" or cpu_multiplies_bf16() else ["float32"]
