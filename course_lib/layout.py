"""The arithmetic of a layout: does this run fit on that many ranks, and who gets which layers?

    world size = dp x pp x tp,    global batch = dp x micro-batch x number of micro-batches

Everything that would fail later, on a node and in the middle of a matrix product, is refused here,
before the job is submitted, with the numbers and a remedy. No torch: a login node runs this.
"""

import dataclasses

from course_lib.config import Layout, RunConfig


def check_layout(run: RunConfig, world_size: int) -> Layout:
    """Check that the run fits on `world_size` ranks and return its layout with all sizes known.

    Raises:
        ValueError: the axes do not multiply to the number of ranks, the batch cannot be shared
            equally, or heads, MLP, sequence or layers cannot be cut as asked; the message shows
            the arithmetic and a remedy.
    """
    layout, model = run.layout, run.model
    layout = dataclasses.replace(layout, dp=_dp(layout, world_size))
    _check_batch(run, layout)
    tp = layout.tp
    if model.num_heads % tp:
        raise ValueError(
            f"num_heads({model.num_heads}) / tp({tp}) = {model.num_heads / tp:.2f}, but every tp "
            f"rank needs the same whole number of heads: use tp {_divisor(model.num_heads, tp)}, "
            f"or num_heads {_multiple(model.num_heads, tp)}"
        )
    if model.mlp_size % tp:
        raise ValueError(
            f"d_ff({model.mlp_size}) / tp({tp}) = {model.mlp_size / tp:.2f}, but every tp rank "
            f"needs the same whole number of columns: use tp {_divisor(model.mlp_size, tp)}, or "
            f"d_ff {_multiple(model.mlp_size, tp)}"
        )
    if layout.sp and model.seq_len % tp:
        raise ValueError(
            f"seq_len({model.seq_len}) / tp({tp}) = {model.seq_len / tp:.2f}, but sequence "
            "parallelism gives every tp rank the same whole number of tokens: use tp "
            f"{_divisor(model.seq_len, tp)}, or sp False"
        )
    _check_stages(model.num_layers, layout)
    return layout


def stage_layers(num_layers: int, layout: Layout) -> list[range]:
    """Return the layers of every virtual stage, in order: stage c x pp + r is chunk c of rank r."""
    stages = layout.pp * layout.virtual_stages
    sizes = layout.stage_layers or (num_layers // stages,) * stages
    starts = [sum(sizes[:stage]) for stage in range(stages)]
    return [range(start, start + size) for start, size in zip(starts, sizes, strict=True)]


def micro_batches(run: RunConfig, layout: Layout) -> int:
    """Return how many micro-batches each rank works on per step (M)."""
    assert layout.dp is not None
    return run.train.global_batch // (layout.dp * run.train.micro_batch)


def padded_vocab_size(vocab_size: int, tp: int) -> int:
    """Return the vocabulary as tp ranks share it: rounded up to a multiple of tp."""
    return -(-vocab_size // tp) * tp


def _dp(layout: Layout, world_size: int) -> int:
    inner = layout.pp * layout.tp
    if layout.dp is None:
        if world_size % inner:
            raise ValueError(
                f"pp({layout.pp}) x tp({layout.tp}) = {inner}, but WORLD_SIZE is {world_size}, "
                f"{world_size / inner:.2f} times that: start {_multiple(world_size, inner)} ranks, "
                "or lower one axis"
            )
        return world_size // inner
    ranks = layout.dp * inner
    if ranks != world_size:
        product = (
            f"dp({layout.dp})"
            if inner == 1
            else (f"dp({layout.dp}) x pp({layout.pp}) x tp({layout.tp})")
        )
        fits = (
            f"set dp to {world_size // inner}, leave dp out, "
            if world_size % inner == 0
            else ("lower one axis ")
        )
        raise ValueError(
            f"{product} = {ranks} ranks, but WORLD_SIZE is {world_size}: {fits}or start {ranks} "
            "ranks"
        )
    return layout.dp


def _check_batch(run: RunConfig, layout: Layout) -> None:
    dp = layout.dp or 1
    batch, micro = run.train.global_batch, run.train.micro_batch
    at_once = dp * micro
    if batch % at_once:
        fits = max(batch // at_once, 1) * at_once
        # The sum also works with a smaller micro-batch, if the ranks divide the batch at all.
        smaller = max((m for m in range(1, micro) if batch % (dp * m) == 0), default=None)
        remedy = f"use global_batch {fits}" + (f" or micro_batch {smaller}" if smaller else "")
        raise ValueError(
            f"global_batch({batch}) / (dp({dp}) x micro_batch({micro}) = {at_once}) = "
            f"{batch / at_once:.2f}, not a whole number of micro-batches per rank: {remedy}"
        )


def _check_stages(num_layers: int, layout: Layout) -> None:
    stages = layout.pp * layout.virtual_stages
    cut = f"pp({layout.pp}) x virtual_stages({layout.virtual_stages}) = {stages} stages"
    if layout.stage_layers is None:
        if num_layers % stages:
            least, more = divmod(num_layers, stages)
            sizes = " ".join(str(least + (stage < more)) for stage in range(stages))
            uneven = f", or cut unevenly with stage_layers {sizes}" if least else ""
            raise ValueError(
                f"num_layers({num_layers}) / ({cut}) = {num_layers / stages:.2f}, not a whole "
                f"number of layers: use num_layers {_multiple(num_layers, stages)}{uneven}"
            )
    elif sum(layout.stage_layers) != num_layers:
        total = " + ".join(map(str, layout.stage_layers))
        raise ValueError(
            f"stage_layers {total} = {sum(layout.stage_layers)}, but num_layers is {num_layers}: "
            "make the two equal"
        )


def _divisor(value: int, at_most: int) -> int:
    return max(d for d in range(1, at_most + 1) if value % d == 0)


def _multiple(value: int, of: int) -> int:
    return -(-value // of) * of
