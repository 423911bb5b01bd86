"""Time the pieces of a training step on CPUs: what plan/local.py foretells whole steps from.

One rank computes while the others rest, so a time is that of a core that is free, and of caches
that hold what the piece needs. What whole steps make of it, alone and while ranks share cores, is
measured by rehearsals: steps of nano and small on 1, 2 and all ranks at once. The pieces
are the trainer's own layers, loss and update, in the sizes of the presets nano and small; what is
no piece, such as Python between them, is taken from steps of a model too small to compute:

    product    (tokens, inputs, outputs)     a linear layer, bias included
    attention  (B, H, T, K)                  the core that the trainer would choose
    gelu       (numbers,)
    block      (B, T, D, H, F)               all of it: what is left over is norms and the like
    loss       (numbers,)                    logits of a micro-batch
    entrance   (numbers,)                    both tables; backward writes the whole token table
    collect    (numbers,)                    adding a gradient to its bucket
    clear      (numbers,)                    a bucket of zeros, new in every micro-batch of ZeRO 2
    update     (numbers,)                    norm, clipping and AdamW

Backward starts where forward has ended. With one thread a rank the clock is that of its core
seconds, which do not pass while something else is served. Left out on purpose: GPUs, where none of
this is serial.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.config import Layout, ModelConfig, RunConfig, TrainConfig
from course_lib.model.attention import ATTENTIONS, fastest_attention
from course_lib.model.gpt import GPT, Block
from course_lib.model.product import linear
from course_lib.parallel import comm
from course_lib.parallel.mesh import Axis, Mesh, Traffic
from course_lib.parallel.parallelize import DTYPES, ParallelModel, parallelize
from course_lib.parallel.tensor import vocab_parallel_loss
from course_lib.plan.calibration import Piece, Rehearsal
from course_lib.presets import PRESETS, nano, small
from course_lib.profile.memory import give_back_memory, keep_freed_memory
from course_lib.train.optim import build_optimizer, shorten, sum_of_squares, update
from course_lib.train.prepare import choose_attention
from course_lib.train.step import train_step

SIZES = ((nano().model, (2, 8)), (small().model, (1, 4)))
"""Models, and micro-batches of each."""
DUMMY = ModelConfig(vocab_size=64, seq_len=16, num_layers=1, num_heads=2, d_model=16)
"""A model that is all overhead."""
PRECISIONS = ("float32", "bf16")
REPEATS = 4
SHORT_S = 0.02
"""What is over sooner is repeated until so much time has passed."""
REHEARSED = (("nano", 2, 4), ("small", 1, 2))
"""Whole steps: preset, sequences of a micro-batch, micro-batches. Not fewer of these: the first one
of a step takes longer than the others, and would count for too much."""
WINDOW_S = 0.6
"""How long ranks take steps at once."""
MOST_AT_ONCE = 8
"""Ranks that take steps at once, at most."""

Recompute = Literal["none", "selective", "full"]


class Overhead(NamedTuple):
    """Seconds of the trainer itself, which are in no piece."""

    step_s: float
    micro_batch_s: float
    block_s: float
    """For each block of a micro-batch."""
    recompute_s: float
    """For each block that is computed anew."""


def measure_pieces(mesh: Mesh) -> tuple[tuple[Piece, ...], Overhead]:
    """Time every piece on this rank, and what the trainer itself needs."""
    give_back_memory()
    keep_freed_memory()
    pieces = [piece for precision in PRECISIONS for piece in _of_layers(precision, mesh)]
    return tuple(pieces), _overhead(mesh, pieces)


def measure_rehearsals(mesh: Mesh) -> tuple[Rehearsal, ...]:
    """Time whole steps of REHEARSED on 1, 2 and all ranks at once; all ranks call this together."""
    keep_freed_memory()
    return tuple(
        _rehearse(preset, micro_batch, micro_batches, precision, mesh)
        for preset, micro_batch, micro_batches in REHEARSED
        for precision in PRECISIONS
    )


def _rehearse(
    preset: str, micro_batch: int, micro_batches: int, precision: str, mesh: Mesh
) -> Rehearsal:
    give_back_memory()  # two models need not be there at once
    model, alone = PRESETS[preset]().model, alone_mesh(mesh)
    parallel, step = _step_of(model, precision, alone, micro_batch, micro_batches)
    step()
    most = min(mesh.world_size, MOST_AT_ONCE)
    counts = sorted({1, min(2, most), most})
    times_s = []
    for count in counts:
        comm.barrier(mesh.world)
        taken_s = _one_of_many(step) if mesh.rank < count else 0.0
        ranks_s = comm.all_gather_object(taken_s, mesh.world)[:count]
        times_s.append(statistics.mean(ranks_s))
    _empty(parallel)
    return Rehearsal(
        preset=preset,
        precision=precision,
        micro_batch=micro_batch,
        micro_batches=micro_batches,
        ranks=tuple(counts),
        time_s=tuple(times_s),
    )


def _step_of(
    model: ModelConfig,
    precision: str,
    alone: Mesh,
    micro_batch: int,
    micro_batches: int,
    recompute: Recompute = "none",
) -> tuple[ParallelModel, Callable[[], object]]:
    """Return a model, and a call that takes a step of the trainer with it, on this rank alone."""
    count = micro_batch * micro_batches
    parallel = _trained(model, precision, alone, micro_batch, micro_batches, recompute)
    optimizer = build_optimizer(parallel, parallel.run.train)
    batch = torch.randint(model.vocab_size, (count, model.seq_len + 1))
    words = {"micro_batch": micro_batch, "global_tokens": batch.numel(), "grad_clip": 1.0}
    return parallel, lambda: train_step(parallel, optimizer, batch, **words)


def _empty(parallel: ParallelModel) -> None:
    """Give the memory of a model back: hooks, which Python cannot look into, keep it alive."""
    tensors = [shard.weight for shard in parallel.shards]
    tensors += [shard.grad for shard in parallel.shards if shard.grad is not None]
    for tensor in (*parallel.module.parameters(), *tensors):
        tensor.untyped_storage().resize_(0)


def alone_mesh(mesh: Mesh) -> Mesh:
    """Return a mesh of this rank only."""

    def axis(name: str) -> Axis:
        return dataclasses.replace(
            mesh.world, name=name, size=1, rank=0, group=None, ranks=(0,), traffic=Traffic()
        )

    axes = {name: axis(name) for name in ("dp", "pp", "tp", "world", "ends")}
    return dataclasses.replace(mesh, rank=0, world_size=1, **axes)


def _one_of_many(work: Callable[[], object]) -> float:
    """Return the median time of a call, from two or as many as fit into the window."""
    times_s, begin_s = [], time.perf_counter()
    while len(times_s) < 2 or time.perf_counter() < begin_s + WINDOW_S:
        start_s = time.perf_counter()
        work()
        times_s.append(time.perf_counter() - start_s)
    return statistics.median(times_s)


def _of_layers(precision: str, mesh: Mesh) -> list[Piece]:
    dtype = DTYPES[precision]
    alone = alone_mesh(mesh)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape).to(dtype).requires_grad_()

    found: list[Piece] = []

    def add(
        kind: str,
        shape: tuple[int, ...],
        forward: Callable[[], Tensor],
        leaves: Sequence[Tensor],
        core: str = "",
    ) -> None:
        if any((each.kind, each.shape) == (kind, shape) for each in found):
            return
        forward_s, backward_s = _both_ways(forward, leaves)
        found.append(Piece(kind=kind, precision=precision, shape=shape, forward_s=forward_s,
                           backward_s=backward_s, core=core))  # fmt: skip

    def add_product(tokens: int, inputs: int, outputs: int, bias: bool = True) -> None:
        x, weight = numbers(1, tokens, inputs), numbers(outputs, inputs)
        b = numbers(outputs) if bias else None
        leaves = (x, weight, b) if b is not None else (x, weight)
        add("product", (tokens, inputs, outputs), lambda: linear(x, weight, b), leaves)

    for model, micro_batches in ((DUMMY, (1,)), *SIZES):
        d, hidden, length = model.d_model, model.mlp_size, model.seq_len
        for b in micro_batches:
            tokens, x = b * length, numbers(b, length, d)
            # Halves, for tp, in one size.
            for tp in (1, 2) if b == micro_batches[0] else (1,):
                for inputs, outputs in (
                    (d, 3 * d // tp), (d // tp, d), (d, hidden // tp), (hidden // tp, d),
                ):  # fmt: skip
                    add_product(tokens, inputs, outputs)
            # The head takes long: where it is large, one size tells the rest.
            if b == micro_batches[0] or model.vocab_size < 4096:
                add_product(tokens, d, model.vocab_size, bias=False)
            shape = (b, model.num_heads, length, model.head_size)
            core = fastest_attention(shape, dtype, "cpu")
            qkv = [numbers(*shape) for _ in range(3)]
            add("attention", shape, partial(ATTENTIONS[core], *qkv), qkv, core)
            wide = numbers(b, length, hidden)
            add("gelu", (wide.numel(),), partial(F.gelu, wide), [wide])
            block = Block(model).to(dtype)
            block.attention.core = ATTENTIONS[core]
            sizes = (b, length, d, model.num_heads, hidden)
            add("block", sizes, partial(block, x), [x, *block.parameters()])
            logits = numbers(b, length, model.vocab_size)
            targets = torch.zeros(b, length, dtype=torch.int64)
            loss = partial(vocab_parallel_loss, logits, targets, alone.tp, model.vocab_size)
            add("loss", (logits.numel(),), loss, [logits])
        whole = GPT(model).to(dtype)
        ids = torch.randint(model.vocab_size, (micro_batches[0], length))
        tables = list(whole.parameters())
        add("entrance", (model.vocab_size * d,), partial(_entrance, whole, ids), tables)
        parallel = _trained(dataclasses.replace(model, num_layers=2), precision, alone)
        optimizer = build_optimizer(parallel, parallel.run.train)

        def step(parallel: ParallelModel = parallel, optimizer=optimizer) -> None:
            sum_of_squares(parallel.shards)
            shorten(parallel.shards, 0.5)
            update(parallel, optimizer)

        count = sum(len(shard.weight) for shard in parallel.shards)
        found.append(Piece(kind="update", precision=precision, shape=(count,),
                           forward_s=_seconds(step), backward_s=0.0))  # fmt: skip
        _empty(parallel)
    bucket, gradient = torch.zeros(2**20), torch.ones(2**20).to(dtype)
    for kind, call in (
        ("collect", lambda: bucket.add_(gradient)),
        ("clear", lambda: torch.zeros(len(bucket))),
    ):
        found.append(Piece(kind=kind, precision=precision, shape=(len(bucket),),
                           forward_s=_seconds(call), backward_s=0.0))  # fmt: skip
    return found


def _entrance(whole: GPT, ids: Tensor) -> Tensor:
    assert whole.positions is not None and whole.tokens is not None
    return whole.positions(ids, whole.tokens(ids))


def _trained(
    model: ModelConfig,
    precision: str,
    alone: Mesh,
    micro_batch: int = 1,
    micro_batches: int = 1,
    recompute: Recompute = "none",
) -> ParallelModel:
    train = TrainConfig(
        steps=1,
        global_batch=micro_batch * micro_batches,
        micro_batch=micro_batch,
        lr=1e-9,
        precision=precision,  # pyright: ignore[reportArgumentType]
    )
    run = RunConfig(
        name="costs", model=model, layout=Layout(dp=1, recompute=recompute), train=train
    )
    with torch.device("meta"):
        whole = GPT(model)
    return parallelize(whole, run, alone, attention=choose_attention(run, alone))


def _overhead(mesh: Mesh, pieces: list[Piece]) -> Overhead:
    alone = alone_mesh(mesh)

    def step_s(layers: int, micro_batches: int, recompute: Recompute = "none") -> float:
        model = dataclasses.replace(DUMMY, num_layers=layers)
        return _seconds(_step_of(model, "float32", alone, 1, micro_batches, recompute)[1])

    small_s, more_s, deep_s = step_s(1, 1), step_s(1, 5), step_s(5, 5)
    again_s = step_s(5, 5, "full")

    def pass_s(kind: str) -> tuple[float, float]:
        own = [p for p in pieces if p.kind == kind and p.precision == "float32"]
        least = min(own, key=lambda piece: piece.shape)
        return least.forward_s, least.backward_s

    in_block_s = (deep_s - more_s) / 4 / 5
    in_micro_batch_s = (more_s - small_s) / 4
    ends_s = sum(pass_s("entrance")) + sum(pass_s("loss"))
    found = Overhead(
        step_s=small_s - in_micro_batch_s - pass_s("update")[0],
        micro_batch_s=in_micro_batch_s - in_block_s - ends_s,
        block_s=in_block_s - sum(pass_s("block")),
        recompute_s=(again_s - deep_s) / 5 / 5 - pass_s("block")[0],
    )
    # What is too little to be told from the pieces' own times is nothing.
    return Overhead(*(max(0.0, seconds) for seconds in found))


def _both_ways(forward: Callable[[], Tensor], leaves: Sequence[Tensor]) -> tuple[float, float]:
    """Return the usual seconds of both passes; gradients come into new memory, as in a step."""
    there_s, back_s = [], []
    begin_s = _clock()
    while len(back_s) < 1 + REPEATS or _clock() < begin_s + SHORT_S:
        start_s = _clock()
        y = forward()
        turn_s = _clock()
        gradient = torch.ones_like(y)
        for leaf in leaves:
            leaf.grad = None
        turn_again_s = _clock()
        y.backward(gradient)
        back_s.append(_clock() - turn_again_s)
        there_s.append(turn_s - start_s)
    return _usual(there_s[1:]), _usual(back_s[1:])


def _seconds(call: Callable[[], object]) -> float:
    times_s = []
    begin_s = _clock()
    while len(times_s) < 1 + REPEATS or _clock() < begin_s + SHORT_S:
        start_s = _clock()
        call()
        times_s.append(_clock() - start_s)
    return _usual(times_s[1:])


def _clock() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def _usual(times_s: list[float]) -> float:
    """Return the lower quartile: what else runs here makes a call longer and never shorter."""
    return sorted(times_s)[len(times_s) // 4]
