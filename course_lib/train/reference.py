"""What the parts of a step cost on this machine when they are done well.

An advisor that reads a trace knows what the run did, and not what it could have done. So while a
profile is recorded each rank also times, on its own shapes and at the same time as the others, the
standard attention core, the standard MLP, with rounded sizes and in bf16, too, the fused optimizer,
a copy, and a small and a large sum over dp. It takes a fraction of a second, on a slow network one
or two. The advisor (profile/advisor.py) compares. Left out on purpose: the other collectives and
axes, which train/messages.py measures.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.model.attention import ATTENTIONS, fastest_attention
from course_lib.model.product import cpu_multiplies_bf16, linear
from course_lib.parallel import comm
from course_lib.parallel.eager import eager
from course_lib.parallel.parallelize import DTYPES, ParallelModel
from course_lib.profile.comm_bench import fit_alpha_beta, measure_copy, time_calls
from course_lib.profile.timing import synchronize
from course_lib.train.messages import largest

REPEATS = 5
GRAIN = 16
"""Sizes are rounded up to a multiple of it to see whether the hardware likes that better."""
MESSAGES_BYTES = (2**10, 2**20)
IN_A_ROW = 3
"""A link that is shaped lets the first message after a pause through too fast."""
COUNTS = (1, 2, 4, 8, 16, 32, 64)
"""In how many messages gradients are sent on trial."""
MOST_SUMMED = 2**20
"""So many of the gradients at most."""
MOST_NUMBERS = 2**23
"""The optimizer is timed on so many numbers at most: it needs three times their memory more."""


def measure_references(parallel: ParallelModel) -> dict[str, Any]:
    """Time what the advisor compares with; all ranks call this together.

    Returns:
        Seconds of a forward and backward pass for a micro-batch (`attention_s`, `mlp_s`, with
        its hidden size rounded up `rounded_mlp_s`, for half of the sequences `half_mlp_s`, and if
        the run is in float32 and the device has instructions for bf16 `bf16_mlp_s`), of an update
        per number, with clipping (`adamw_s_per_number`), and bytes read and written per second
        (`copy_bytes_per_s`). If dp has more than one rank, also of an all-reduce along it the
        fixed time (`dp_alpha_s`) and what each byte that leaves a rank adds (`dp_s_per_byte`), and
        by number of messages how long a backward pass takes that sends its gradients in so many
        (`dp_sums_s`, with a share of its `gradients`: `dp_sums_share`).
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
    mlps = {
        "mlp_s": (hidden, x),
        "rounded_mlp_s": (-(-hidden // GRAIN) * GRAIN, x),
        "half_mlp_s": (hidden, half),
    }
    if dtype is torch.float32 and (device.type != "cpu" or cpu_multiplies_bf16()):
        mlps["bf16_mlp_s"] = hidden, x.detach().bfloat16().requires_grad_()
    for name, (size, given) in mlps.items():
        up = torch.randn(size, model.d_model, device=device).to(given.dtype).requires_grad_()
        down = torch.randn(model.d_model, size, device=device).to(given.dtype).requires_grad_()
        ways[name] = lambda x=given, up=up, down=down: linear(F.gelu(linear(x, up)), down)
    passes = {name: _forth_and_back(way) for name, way in ways.items()}
    found = {
        **_seconds(passes, device),
        "adamw_s_per_number": _adamw(parallel),
        "copy_bytes_per_s": measure_copy(device, round_s=0.0),
        **(_sums_over_dp(parallel, passes) if mesh.dp.size > 1 else {}),
    }
    comm.barrier(mesh.world)
    return found


def _forth_and_back(forward: Callable[[], Tensor]) -> Callable[[], None]:
    def passes() -> None:
        y = forward()
        y.backward(torch.ones_like(y))

    return passes


def _seconds(
    ways: dict[str, Callable[[], None]],
    device: torch.device,
    before: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Return by name the median time of a call, all ways in turn."""
    times_s: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS + 1):  # the first round warms up
        for name, call in ways.items():
            before()
            synchronize(device)
            start_s = time.perf_counter()
            call()
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
    optimizer = eager(torch.optim.AdamW)(weights, fused=True)
    device, times_s = parallel.mesh.device, []
    for _ in range(REPEATS + 1):
        synchronize(device)
        start_s = time.perf_counter()
        for weight in weights:  # clipping stays, however the update is done
            weight.grad.mul_(0.5)
        optimizer.step()
        synchronize(device)
        times_s.append(time.perf_counter() - start_s)
    return statistics.median(times_s[1:]) / max(1, numbers)


def _sums_over_dp(parallel: ParallelModel, passes: dict[str, Callable[[], None]]) -> dict[str, Any]:
    run, mesh = parallel.run, parallel.mesh

    def in_a_row(full: Tensor) -> None:
        for _ in range(IN_A_ROW):
            comm.all_reduce(full, mesh.dp)
        synchronize(mesh.device)

    messages = [torch.zeros(size // 4, device=mesh.device) for size in MESSAGES_BYTES]
    bytes_sent = []
    for full in messages:
        before = mesh.dp.traffic.num_bytes
        in_a_row(full)
        bytes_sent.append(mesh.dp.traffic.num_bytes - before)
    times_s = time_calls(
        [partial(in_a_row, full) for full in messages],
        barrier=lambda: comm.barrier(mesh.world),
        largest=lambda values: largest(values, mesh),
        round_s=0.0,
    )
    fit = fit_alpha_beta(bytes_sent, times_s)

    # An MLP's passes, 3 x 8 d^2 FLOPs a token, are as much as backward of a block's 12 d^2 weights.
    numbers = sum(parameter.numel() for parameter in parallel.module.parameters())
    gradients = torch.zeros(max(1, min(numbers, MOST_SUMMED)), device=mesh.device)
    gradients = gradients.to(DTYPES[run.train.grad_dtype])
    blocks = max(1, round(len(gradients) / (12 * run.model.d_model**2 / mesh.tp.size)))

    def backward(count: int) -> None:
        parts, pending = gradients.chunk(count), []
        for block in range(1, blocks + 1):
            passes["mlp_s"]()
            passes["attention_s"]()
            ready = parts[len(pending) : len(parts) * block // blocks]
            pending += [comm.start_all_reduce(part, mesh.dp) for part in ready]
        for each in pending:
            each.wait()

    ways = {str(count): partial(backward, count) for count in COUNTS}
    return {
        "dp_alpha_s": fit.alpha_s / IN_A_ROW,
        "dp_s_per_byte": fit.beta_s_per_byte,
        "dp_sums_s": _seconds(ways, mesh.device, before=lambda: comm.barrier(mesh.world)),
        "dp_sums_share": len(gradients) / max(1, numbers),
        "gradients": numbers,
    }
