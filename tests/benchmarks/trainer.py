"""The trainer against this machine's matrix products, Hugging Face's GPT-2, and torch's DDP.

`make bench`, or `python -m tests.benchmarks.trainer [--rounds N] [--compile]`. Preset `small`, one
thread a rank, no dropout, whole steps with AdamW. Variants take turns, so that all meet the same
load; printed are medians of CPU-seconds (a busy machine lengthens those least) and, between ranks
that wait for each other, of wall clock. Ratios are medians over rounds of the ratio within a round.

MFU is against the product that bounds it: torch's own in bf16 where the processor has instructions
for it, else the float32 one, to which our products are widened (model/product.py). Bars, on a
machine with bf16 instructions: 1.3 x Hugging Face, 74 % MFU, 92 % of ranks that do not communicate.
"""

import argparse
import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from course_lib.config import Layout, RunConfig
from course_lib.model.attention import fastest_attention
from course_lib.model.gpt import GPT
from course_lib.model.product import cpu_multiplies_bf16
from course_lib.parallel.data import sum_gradients
from course_lib.parallel.launch import run_ranks
from course_lib.parallel.mesh import Axis, Mesh, build_mesh
from course_lib.parallel.parallelize import DTYPES, ParallelModel, parallelize
from course_lib.plan.counts import flops_per_token
from course_lib.presets import small
from course_lib.profile.memory import keep_freed_memory
from course_lib.train.optim import build_optimizer
from course_lib.train.step import train_step

os.environ["HF_HUB_OFFLINE"] = "1"

PRECISIONS = ("float32", "bf16")
RANKS = 2
WIDENED = not cpu_multiplies_bf16()
"""Whether bf16 products of ours are done in float32 here."""


@dataclass
class Variant:
    """Something to time."""

    step: Callable[[], object]
    tokens: int
    precision: str = "float32"
    rounds: int = 10**9
    """Most rounds to take part in, after the first, which warms up; 0: only a cold one."""
    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)


def small_run(precision: str, batch: int, ranks: int = 1, **changes: object) -> RunConfig:
    """Return the preset as one micro-batch a rank."""
    run = small()
    grad_dtype = precision  # bf16 gradients where the weights are: half the copies and bytes
    train = dataclasses.replace(
        run.train,
        global_batch=batch * ranks,
        micro_batch=batch,
        precision=precision,
        grad_dtype=grad_dtype,
        **changes,
    )
    return dataclasses.replace(run, train=train)


def tokens_of(run: RunConfig, batch: int, rank: int = 0) -> Tensor:
    """Return (B, T + 1) made-up tokens."""
    generator = torch.Generator().manual_seed(rank)
    shape = (batch, run.model.seq_len + 1)
    return torch.randint(run.model.vocab_size, shape, generator=generator)


def build(run: RunConfig, mesh: Mesh, **seams) -> ParallelModel:
    """Return our model at work on a mesh, with the attention that is fastest here."""
    with torch.device("meta"):
        model = GPT(run.model)
    shape = (run.train.micro_batch, run.model.num_heads, run.model.seq_len, run.model.head_size)
    attention = fastest_attention(shape, DTYPES[run.train.precision], "cpu")
    return parallelize(model, run, mesh, attention=attention, **seams)


def step_of(parallel: ParallelModel) -> Callable[[], object]:
    """Return a function that takes one of our training steps."""
    run = parallel.run
    optimizer = build_optimizer(parallel, run.train)
    batch_local = tokens_of(run, run.train.micro_batch, parallel.mesh.rank)
    return lambda: train_step(
        parallel,
        optimizer,
        batch_local,
        micro_batch=run.train.micro_batch,
        global_tokens=run.train.global_batch * run.model.seq_len,
        grad_clip=run.train.grad_clip,
    )


def step_of_hugging_face(run: RunConfig, batch: int) -> Callable[[], object]:
    """Return a step of GPT2LMHeadModel with its own loss and torch's AdamW, all as they come.

    It does not clip, which ours does.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = run.model
    config = GPT2Config(
        vocab_size=shape.vocab_size,
        n_positions=shape.seq_len,
        n_embd=shape.d_model,
        n_layer=shape.num_layers,
        n_head=shape.num_heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.train.lr)
    inputs = tokens_of(run, batch)[:, :-1]

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=run.train.precision == "bf16"):
            loss = model(input_ids=inputs, labels=inputs).loss
        loss.backward()
        optimizer.step()

    return step


def measure_product(dtype: torch.dtype) -> float:
    """Return the FLOP per CPU-second of square products, in the best of a layer's three layouts."""
    # Without bf16 instructions some layouts are a hundred times slower: a small matrix must do.
    n = 256 if dtype is torch.bfloat16 and WIDENED else 1024
    a, b = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype)
    best = 0.0
    for left, right in ((a, b.t()), (a, b), (a.t(), b)):  # forward, and both of backward
        times_s = []
        for _ in range(4):
            start_s = time.process_time()
            left @ right
            times_s.append(time.process_time() - start_s)
        best = max(best, 2 * n**3 / statistics.median(times_s[1:]))
    return best


def take_turns(variants: dict[str, Variant], rounds: int, meet: Callable[[], object]) -> None:
    """Fill in the times of all variants, a step of each in every round.

    Args:
        variants: to time.
        rounds: how many; another one before them warms up.
        meet: called before and after every step, for ranks to wait for each other.
    """
    order = list(variants.values())
    for round_ in range(rounds + 1):
        for variant in order[round_ % len(order) :] + order[: round_ % len(order)]:
            if round_ > variant.rounds:
                continue
            meet()
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            variant.step()
            cpu_s = time.process_time() - cpu_s
            meet()
            if round_ > 0 or variant.rounds == 0:
                variant.cpu_s.append(cpu_s)
                variant.wall_s.append(time.perf_counter() - wall_s)


def ratio(of: list[float], to: list[float]) -> float:
    """Return how many times longer `of` took than `to`, within the same rounds."""
    return statistics.median(a / b for a, b in zip(of, to, strict=False))


def one_rank(rounds: int, with_compile: bool) -> None:
    """Print ours against Hugging Face on one thread."""
    torch.set_num_threads(1)
    batch, mesh = 8, build_mesh(Layout())
    variants = {}
    for precision in PRECISIONS:
        run = small_run(precision, batch)
        tokens = batch * run.model.seq_len
        variants[f"ours {precision}"] = Variant(step_of(build(run, mesh)), tokens, precision)
        if with_compile:
            compiled = step_of(build(small_run(precision, batch, compile=True), mesh))
            variants[f"ours {precision}, compiled"] = Variant(compiled, tokens, precision)
        slow = precision == "bf16" and WIDENED
        theirs = Variant(step_of_hugging_face(run, 1 if slow else batch), tokens, precision)
        if slow:
            theirs.tokens, theirs.rounds = run.model.seq_len, 0
        variants[f"Hugging Face {precision}"] = theirs
    found: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}

    def measure_products() -> None:
        for precision, values in found.items():
            values.append(measure_product(DTYPES[precision]))

    products = {"products": Variant(measure_products, 0)}
    take_turns(products | variants, rounds, meet=lambda: None)
    peak = {precision: statistics.median(values) for precision, values in found.items()}
    print(
        f"matrix products, 1 thread: float32 {peak['float32'] / 1e9:.1f}, bf16 "
        f"{peak['bf16'] / 1e9:.1f} GFLOP per CPU-second; ours in bf16 "
        + ("widens to float32 (no bf16 instructions here)" if WIDENED else "uses bf16")
    )
    if WIDENED:
        print(
            "Hugging Face in bf16 would take a minute a step here: one step of one sequence, cold"
        )
    print(f"small, 1 rank of 1 thread, {batch} x {small().model.seq_len} tokens, {rounds} rounds")
    for name, variant in variants.items():
        bound = (
            "float32" if variant.precision == "float32" or WIDENED and "ours" in name else "bf16"
        )
        median = statistics.median(variant.cpu_s)
        speed = variant.tokens / median
        mfu = speed * flops_per_token(small().model) / peak[bound]
        print(
            f"  {name:24} {median:7.3f} CPU-s  {speed:6.0f} tokens/CPU-s  MFU {mfu:5.1%} of {bound}"
        )
    for precision in PRECISIONS:
        ours, theirs = variants[f"ours {precision}"], variants[f"Hugging Face {precision}"]
        times = ratio(theirs.cpu_s, ours.cpu_s) * ours.tokens / theirs.tokens
        print(f"ours / Hugging Face, {precision}: {times:.2f} x")
    times = ratio(variants["Hugging Face float32"].cpu_s, variants["ours bf16"].cpu_s)
    print(f"ours bf16 / Hugging Face float32: {times:.2f} x")


def by_itself(mesh: Mesh) -> Mesh:
    """Return the mesh of this rank without the others."""

    def alone(axis: Axis) -> Axis:
        return dataclasses.replace(axis, size=1, rank=0, group=None, ranks=(mesh.rank,))

    axes = {name: alone(getattr(mesh, name)) for name in ("dp", "pp", "tp", "world", "ends")}
    return dataclasses.replace(mesh, world_size=1, **axes)


def reduced_by_ddp(parallel: ParallelModel) -> ParallelModel:
    """Return our model with torch's DDP around it: its hooks sum (and divide) the gradients."""
    ddp = DistributedDataParallel(parallel.module[0], gradient_as_bucket_view=True)
    return dataclasses.replace(parallel, module=nn.ModuleList([ddp]))


def no_reduction(model: nn.Module, mesh: Mesh) -> None:
    """Leave each rank with its own gradient."""


def bench_ranks(mesh: Mesh, precision: str, rounds: int) -> dict[str, tuple[list, list]]:
    """Return CPU-seconds and wall clock of this rank, by variant."""
    batch = 4
    run = small_run(precision, batch, RANKS)
    tokens = batch * run.model.seq_len
    solo = dataclasses.replace(run, train=dataclasses.replace(run.train, global_batch=batch))
    models = {
        "no communication": build(solo, by_itself(mesh)),
        "ours": build(run, mesh),
        "torch DDP": reduced_by_ddp(build(run, mesh, reduce=no_reduction)),
        "sum_gradients": build(run, mesh, reduce=sum_gradients),
    }
    variants = {name: Variant(step_of(model), tokens) for name, model in models.items()}
    take_turns(variants, rounds, meet=dist.barrier)
    return {name: (variant.cpu_s, variant.wall_s) for name, variant in variants.items()}


def two_ranks(rounds: int) -> None:
    """Print four ways to sum gradients against not communicating."""
    for precision in PRECISIONS:
        ranks = run_ranks(bench_ranks, RANKS, precision, rounds, timeout_s=1800)
        tokens = RANKS * 4 * small().model.seq_len
        print(
            f"small, {RANKS} ranks of 1 thread, 4 x {small().model.seq_len} tokens each, "
            f"{precision}, {rounds} rounds"
        )
        limit_cpu_s, limit_wall_s = merged(ranks, "no communication")
        for name in ranks[0]:
            cpu_s, wall_s = merged(ranks, name)
            print(
                f"  {name:18} {tokens / statistics.median(wall_s):6.0f} tokens/s  "
                f"wall {statistics.median(wall_s):6.3f} s, {ratio(limit_wall_s, wall_s):6.1%} of "
                f"no communication;  CPU {statistics.median(cpu_s):6.3f} s a rank, "
                f"{ratio(limit_cpu_s, cpu_s):6.1%}"
            )


def merged(ranks: list[dict[str, tuple[list, list]]], name: str) -> tuple[list, list]:
    """Return a variant's times: the mean CPU-seconds of the ranks, the longest wall clock."""
    cpu_s = [statistics.mean(each) for each in zip(*(rank[name][0] for rank in ranks), strict=True)]
    wall_s = [max(each) for each in zip(*(rank[name][1] for rank in ranks), strict=True)]
    return cpu_s, wall_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="steps of each variant that count")
    parser.add_argument("--compile", action="store_true", help="add rows with torch.compile")
    parser.add_argument("--only", choices=("one", "two"), help="ranks to measure; both if left out")
    options = parser.parse_args()
    keep_freed_memory()  # as our trainer does; Hugging Face here profits as well
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    # Forks first: they inherit what this process has touched.
    if options.only != "one":
        two_ranks(options.rounds)
    if options.only != "two":
        one_rank(options.rounds, options.compile)
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
