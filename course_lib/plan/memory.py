"""How many bytes a rank needs, and at which moment of a training step most: paper and pencil.

State, alive all the time, in bytes per parameter of a rank (N / (tp pp) of them); n = dp:

    bf16, grad_dtype bf16    weights 2 + gradients 2 + master 4 + AdamW's two means 8 = 16
    zero 1, 2, 3             the last two / n;  from 2 on gradients / n;  from 3 on weights / n

(Rajbhandari et al. 2020, arXiv:1910.02054, section 3.1). Activations, after Korthikanti et al. 2022
(arXiv:2205.05198, section 4.1), less what our model lacks: dropout's masks, and with SDPA the T x T
weights. With X = B T D w, w bytes a number, a block remembers

    norm1's input X, qkv's input X, q k v 3 X, out's input X, norm2's input X, up's input X,
    GELU's input and down's 2 B T F w: together 16 X where F = 4 D

and a few numbers per token. Over tp all between the two matrices of a pair is cut, with sp the
rest too. `selective` keeps of the attention core only q, k, v and the result, `full` only the X
that comes in. The head adds 2 X, the loss twice the logits: they and their gradient. To this
`moments` adds, where the sum can be largest, what is there for a moment only: weight gradients,
ZeRO's buckets, float32 copies. tests/unit/test_memory.py measures it on CPUs with gloo;
zero-bubble pipelines, which put gradients off, are only roughly right. owners.py has a rougher sum
for many layouts at once, and for other trainers. Left out on purpose: what the allocator wastes,
and a kernel's own workspace.
"""

import math
from typing import Literal

from course_lib.config import Layout, RunConfig
from course_lib.layout import check_layout, micro_batches, padded_vocab_size
from course_lib.plan.shares import (
    FLOAT32_BYTES,
    TABLE,
    buckets,
    coordinates,
    my_stages,
    owned,
    widths,
)

INT64_BYTES = 8
LOSS_ROWS = 128
"""Tokens whose logits the loss works on at once, on a CPU (parallel/tensor.py)."""

Core = Literal["sdpa", "matmul", "float32"]
"""The attention cores of model/attention.py."""


def state_bytes(run: RunConfig, world_size: int, rank: int | None = None) -> dict[str, int]:
    """Return what a rank keeps from step to step: weights, gradients, master, optimizer.

    Args:
        run: what is trained, and how.
        world_size: number of ranks.
        rank: which of them; left out, the first of the pipeline stage that needs most.

    Raises:
        ValueError: the run does not fit on so many ranks.
    """
    layout = check_layout(run, world_size)
    states = [_state(run, layout, r) for r in _ranks(layout, rank)]
    return max(states, key=lambda state: sum(state.values()))


def peak_bytes(
    run: RunConfig,
    world_size: int,
    rank: int | None = None,
    *,
    attention: Core = "sdpa",
    widened: bool = False,
) -> int:
    """Return the most bytes of tensors that a rank holds at once in a training step.

    Args:
        run: what is trained, and how.
        world_size: number of ranks.
        rank: which of them; left out, the first of the pipeline stage that needs most.
        attention: the core that computes.
        widened: whether bf16 products are done in float32 (model/product.py).

    Raises:
        ValueError: the run does not fit on so many ranks.
    """
    layout = check_layout(run, world_size)
    ranks = _ranks(layout, rank)
    return max(max(_moments(run, layout, r, attention, widened).values()) for r in ranks)


def moments(
    run: RunConfig,
    world_size: int,
    rank: int = 0,
    *,
    attention: Core = "sdpa",
    widened: bool = False,
) -> dict[str, int]:
    """Return the bytes alive at each moment of a step that can be the peak, by its name."""
    return _moments(run, check_layout(run, world_size), rank, attention, widened)


def _moments(
    run: RunConfig, layout: Layout, rank: int, attention: Core, widened: bool
) -> dict[str, int]:
    size, held = _Sizes(run, layout, attention), _Dp(run, layout, rank)
    weight, gradient = widths(run)
    # How many times its own bytes the float32 copy of an operand takes.
    wide = FLOAT32_BYTES // weight if widened else 0
    remembered, x, x_local = size.block(layout.recompute), size.x, size.x_local
    _, pp_rank, _ = coordinates(rank, layout)
    first, last = pp_rank == 0, pp_rank == layout.pp - 1
    chunks = my_stages(run, layout, pp_rank)
    ends = 2 * x_local if last else 0  # the last norm's input, and the head's
    always = sum(_state(run, layout, rank).values()) + size.tokens + size.mask
    always += _others_in_pipeline(run, layout, pp_rank, size)

    found = {"update": always}
    if gradient != FLOAT32_BYTES:  # the optimizer takes gradients in its own type
        mine = owned(buckets(run, layout, rank), layout, rank)
        found["update"] += FLOAT32_BYTES * sum(count for _, count in mine)
    if last:
        everything = always + len(chunks[-1]) * remembered + ends
        # Zero 3 drops the head's weights before the loss and fetches them again for backward.
        found["loss"] = everything + held.under_way(math.inf) + 2 * size.logits + size.scratch
        if layout.sp:  # x is put together again, and its gradient cut
            products = 3 * x + max(x, size.table * (1 + wide)) + size.logits * wide
        else:
            products = x + max(x * wide, size.table) + (size.logits + size.table) * wide
        found["head"] = everything + held.at(math.inf) + size.logits + products
    # The head's gradient of a tied table waits for the one from the look-up.
    waiting = size.table if run.model.tied_head and first and last else 0
    # Backward of a block is fullest at its last matrix, before the MLP's inputs can go, or with
    # ZeRO just after, when the matrix's gradient has moved into a bucket.
    matrix, u = size.down_matrix, size.u
    product = x * (1 + wide) + u + matrix * wide + max(u * wide, matrix)
    recomputed = size.block("none") - x_local if layout.recompute == "full" else 0
    for place, block in [pair for chunk in chunks for pair in enumerate(chunk)]:
        before = always + waiting + place * remembered
        after = held.at(block, down_arrived=True)
        most = max(held.at(block) + product, after + x + matrix)
        found[f"block {block}"] = before + remembered + recomputed + most
        if size.core_at_work:
            found[f"attention {block}"] = before + size.core_at_work + after
    if first:
        found["table"] = always + held.at(-1) + waiting + size.table + x_local
    return found


class _Sizes:
    """Bytes of one micro-batch's tensors, and of the matrices that matter, on a rank."""

    def __init__(self, run: RunConfig, layout: Layout, attention: Core) -> None:
        model, tp = run.model, layout.tp
        weight, _ = widths(run)
        assert layout.dp is not None
        places = run.train.micro_batch * model.seq_len
        columns = padded_vocab_size(model.vocab_size, tp) // tp
        self.tokens = run.train.global_batch // layout.dp * (model.seq_len + 1) * INT64_BYTES
        self.x = places * model.d_model * weight
        self.x_local = self.x // (tp if layout.sp else 1)
        self.u = places * model.mlp_size * weight // tp
        self.logits = places * columns * weight
        self.table = columns * model.d_model * weight
        self.down_matrix = model.d_model * model.mlp_size * weight // tp
        rows = min(LOSS_ROWS, places) if tp == 1 else places
        self.scratch = rows * columns * FLOAT32_BYTES if weight < FLOAT32_BYTES else 0
        self.statistics = 4 * places * weight // (tp if layout.sp else 1)  # of the two norms
        part = self.x // tp  # q, k, v or the result
        rows_of_scores = places * model.num_heads // tp
        scores, sums = (rows_of_scores * n for n in (model.seq_len * weight, FLOAT32_BYTES))
        self.core_input_and_result = 4 * part
        self.core = {
            "sdpa": 4 * part + sums,
            "float32": (4 * part * FLOAT32_BYTES // weight) + (weight == 2) * part + sums,
            "matmul": 4 * part + scores,
        }[attention]
        by_hand = attention == "matmul"
        self.mask = model.seq_len**2 * weight if by_hand else 0
        self.core_at_work = (2 * self.x_local + self.x + 6 * part + 3 * scores) if by_hand else 0

    def block(self, recompute: Literal["none", "selective", "full"]) -> int:
        """Return what a block remembers."""
        if recompute == "full":
            return self.x_local
        core = self.core if recompute == "none" else self.core_input_and_result
        return 4 * self.x_local + core + 2 * self.u + self.statistics


class _Dp:
    """What data parallelism holds for a while: gathered weights, gradients under way."""

    def __init__(self, run: RunConfig, layout: Layout, rank: int) -> None:
        assert layout.dp is not None
        self._dp, self._stage = layout.dp, layout.zero if layout.dp > 1 else 0
        self._weight, self._gradient = widths(run)
        self._first = coordinates(rank, layout)[1] == 0
        self._buckets = sorted(
            buckets(run, layout, rank),
            key=lambda bucket: min(self._place(each.name) for each in bucket.parameters),
            reverse=True,
        )
        # What the micro-batch before has sent last is under way until this one sends something.
        self._before = self._buckets[-1].numel if micro_batches(run, layout) > 1 else 0

    def at(self, block: float, *, down_arrived: bool = False) -> int:
        """Return the bytes in backward, when it comes to a block's MLP.

        Args:
            block: its number; infinity before all blocks, -1 after them.
            down_arrived: whether the gradient of the block's last matrix is already there.
        """
        total = self.under_way(block, down_arrived=down_arrived)
        for bucket in self._buckets if self._stage == 3 else []:
            names = [each.name for each in bucket.parameters]
            if TABLE in names or "norm.weight" in names or f"blocks.{block}.norm1.weight" in names:
                total += bucket.numel * self._weight
        return total

    def under_way(self, block: float, *, down_arrived: bool = False) -> int:
        """Return the bytes of gradients that are collected, sent and received."""

        def arrived(name: str) -> bool:
            place = self._place(name)
            return place > block or place == block and down_arrived and ".mlp.down." in name

        full, partial, latest = 0, 0, self._before
        for bucket in self._buckets:
            there = [arrived(each.name) for each in bucket.parameters]
            if all(there):
                full += bucket.numel
                latest = bucket.numel
            elif any(there):
                partial += bucket.numel
                if bucket is self._buckets[-1] and not full:
                    latest = 0  # it is the one that was under way
        if self._stage < 2:  # gloo keeps what has come in until backward is over
            return self._stage * full * self._gradient * (self._dp - 1) // self._dp
        return (partial + 2 * latest) * self._gradient

    def _place(self, name: str) -> float:
        """Return after which block, from the last to the first, a gradient arrives."""
        if name.startswith("blocks."):
            return int(name.split(".")[1])
        entrance = self._first and name in (TABLE, "positions.weight")
        return -1 if entrance else math.inf


def _state(run: RunConfig, layout: Layout, rank: int) -> dict[str, int]:
    held = buckets(run, layout, rank)
    assert layout.dp is not None
    numel = sum(bucket.numel for bucket in held)
    part = numel // layout.dp
    stage = layout.zero if layout.dp > 1 else 0
    weight, gradient = widths(run)
    low = run.train.precision != "float32"
    counts = [count for _, count in owned(held, layout, rank)]
    return {
        "weights": (part if stage == 3 else numel) * weight,
        "gradients": (part if stage >= 2 else numel) * gradient,
        "master": (part if stage else numel) * FLOAT32_BYTES if low else 0,
        # AdamW also counts its steps, in a float32 per tensor.
        "optimizer": (2 * sum(counts) + len(counts)) * FLOAT32_BYTES,
    }


def _others_in_pipeline(run: RunConfig, layout: Layout, pp_rank: int, size: _Sizes) -> int:
    """Return the bytes of all micro-batches under way in a pipeline but the one worked on."""
    if layout.pp == 1:
        return 0
    count, v = micro_batches(run, layout), layout.virtual_stages
    # Most at a time, each chunk by itself (schedule.py).
    under_way = {
        "gpipe": count,
        "1f1b": layout.pp - pp_rank,
        "zb_h1": layout.pp,
        "interleaved": 2 * (layout.pp - pp_rank - 1) + (v - 1) * layout.pp + 1,
    }[layout.schedule]
    layers = len(my_stages(run, layout, pp_rank)[0])
    each = layers * size.block(layout.recompute) + size.x_local  # it keeps what it has sent on
    if pp_rank == layout.pp - 1 and v == 1:
        each += size.x_local + size.logits
    sent = 0 if layout.schedule == "gpipe" else min(2 * layout.pp, count - 1)
    return (min(under_way, count * v) - 1) * each + sent * size.x_local


def _ranks(layout: Layout, rank: int | None) -> list[int]:
    """Return the rank, or one of every pipeline stage: those of a stage differ by a few bytes."""
    assert layout.dp is not None
    stride = layout.dp * layout.tp
    return [rank] if rank is not None else [stage * stride for stage in range(layout.pp)]
