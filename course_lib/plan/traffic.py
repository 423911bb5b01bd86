"""What a rank sends in a training step, to the byte, from the run's numbers alone.

N numbers in this rank's layers, w bytes per weight or activation, g per gradient, M micro-batches
of B sequences; all times (n - 1) / n for n ranks along the axis:

    dp     zero 0: 2 N g    1: N (g + w)    2: N (M g + w)    3: N M (g + 2 w)
    tp     M B T D w (8 per layer + 2 for the token table + 2 for the head) + 24 M B T for the loss
           sp: (10 + 2 + 3) instead, and once 2 S g for S numbers that all tp ranks hold
    world  2 x 24: loss, norm and stop as three float64
    pp     not times (n - 1) / n: M B T D w (sp: / tp) per border, one way, and N g of a tied table

Zero 3 fetches a token table that is not the head only once; full recomputation repeats what a layer
sends forwards, but for its last sum. Counted is an algorithm that wastes nothing, as in comm.py
(tests/parity/test_traffic.py compares). Left out on purpose: validation, and time.
"""

from course_lib.config import Layout, RunConfig
from course_lib.layout import check_layout, micro_batches
from course_lib.plan.shares import (
    FLOAT32_BYTES,
    TABLE,
    Bucket,
    buckets,
    coordinates,
    my_stages,
    owned,
    widths,
)

FLOAT64_BYTES = 8


def bytes_per_step(run: RunConfig, world_size: int, rank: int = 0) -> dict[str, int]:
    """Return the bytes that a rank sends per optimizer step, by axis: dp, pp, tp, world.

    Args:
        run: what is trained, and how.
        world_size: number of ranks.
        rank: which of them; the first and the last pipeline stage send more than those between.

    Raises:
        ValueError: the run does not fit on so many ranks.
    """
    layout = check_layout(run, world_size)
    held = buckets(run, layout, rank)
    return {
        "dp": _dp(run, layout, held),
        "pp": _pp(run, layout, rank, held),
        "tp": _tp(run, layout, rank, held),
        "world": _all_reduce(3 * FLOAT64_BYTES, world_size),
    }


def _dp(run: RunConfig, layout: Layout, held: list[Bucket]) -> int:
    (weight, gradient), count = widths(run), micro_batches(run, layout)
    assert layout.dp is not None
    total = 0
    for bucket in held:
        per_number = {
            0: 2 * gradient,
            1: gradient + weight,
            2: count * gradient + weight,
            3: count * (gradient + bucket.gathers * weight),
        }[layout.zero]
        total += bucket.numel * (layout.dp - 1) // layout.dp * per_number
    return total


def _tp(run: RunConfig, layout: Layout, rank: int, held: list[Bucket]) -> int:
    if layout.tp == 1:
        return 0
    model, (weight, gradient) = run.model, widths(run)
    _, pp_rank, _ = coordinates(rank, layout)
    tokens = run.train.micro_batch * model.seq_len
    half = tokens * model.d_model * weight * (layout.tp - 1) // layout.tp
    per_layer, table, head = (10, 2, 3) if layout.sp else (8, 2, 2)
    if layout.recompute == "full":
        # Up to the last thing that backward needs: the block's last sum is not done again.
        per_layer += 3 if layout.sp else 2
    halves = per_layer * sum(len(layers) for layers in my_stages(run, layout, pp_rank))
    total = 0
    if pp_rank == 0:
        halves += table
    if pp_rank == layout.pp - 1:
        halves += head
        total += _all_reduce(tokens * FLOAT32_BYTES, layout.tp)  # the largest score
        total += _all_reduce(2 * tokens * FLOAT32_BYTES, layout.tp)  # sum, and the target's score
    total = micro_batches(run, layout) * (total + halves * half)
    if layout.sp:
        partial = sum(n for parameter, n in owned(held, layout, rank) if parameter.copied)
        total += _all_reduce(partial * gradient, layout.tp)
    return total


def _pp(run: RunConfig, layout: Layout, rank: int, held: list[Bucket]) -> int:
    if layout.pp == 1:
        return 0
    model, (weight, gradient) = run.model, widths(run)
    _, pp_rank, _ = coordinates(rank, layout)
    length = model.seq_len // (layout.tp if layout.sp else 1)
    stages = layout.pp * layout.virtual_stages
    borders = 0
    for stage in range(pp_rank, stages, layout.pp):
        borders += (stage < stages - 1) + (stage > 0)  # activations onwards, gradients back
    per_border = run.train.micro_batch * length * model.d_model * weight
    total = micro_batches(run, layout) * borders * per_border
    if model.tied_head:
        table = sum(n for parameter, n in owned(held, layout, rank) if parameter.name == TABLE)
        total += _all_reduce(table * gradient, 2)
    return total


def _all_reduce(num_bytes: int, ranks: int) -> int:
    return 2 * num_bytes * (ranks - 1) // ranks
