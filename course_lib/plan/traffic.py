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

from collections.abc import Callable
from typing import NamedTuple

from course_lib.config import Layout, RunConfig
from course_lib.layout import check_layout, micro_batches, padded_vocab_size, stage_layers

FLOAT32_BYTES, FLOAT64_BYTES = 4, 8
TABLE = "tokens.weight"


class Parameter(NamedTuple):
    """A parameter as one rank holds it."""

    name: str
    numel: int
    """Numbers after the cut over tp."""
    copied: bool = False
    """Whether every tp rank holds all of it."""


class Bucket(NamedTuple):
    """Parameters that travel together along dp."""

    parameters: list[Parameter]
    numel: int
    """Numbers in it, rounded up to a multiple of dp."""
    gathers: int = 2
    """How often zero 3 fetches it per micro-batch: a table's backward needs no weights."""


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
    buckets = _buckets(run, layout, rank)
    return {
        "dp": _dp(run, layout, buckets),
        "pp": _pp(run, layout, rank, buckets),
        "tp": _tp(run, layout, rank, buckets),
        "world": _all_reduce(3 * FLOAT64_BYTES, world_size),
    }


def _dp(run: RunConfig, layout: Layout, buckets: list[Bucket]) -> int:
    (weight, gradient), count = _widths(run), micro_batches(run, layout)
    assert layout.dp is not None
    total = 0
    for bucket in buckets:
        per_number = {
            0: 2 * gradient,
            1: gradient + weight,
            2: count * gradient + weight,
            3: count * (gradient + bucket.gathers * weight),
        }[layout.zero]
        total += bucket.numel * (layout.dp - 1) // layout.dp * per_number
    return total


def _tp(run: RunConfig, layout: Layout, rank: int, buckets: list[Bucket]) -> int:
    if layout.tp == 1:
        return 0
    model, (weight, gradient) = run.model, _widths(run)
    _, pp_rank, _ = _coordinates(rank, layout)
    tokens = run.train.micro_batch * model.seq_len
    half = tokens * model.d_model * weight * (layout.tp - 1) // layout.tp
    per_layer, table, head = (10, 2, 3) if layout.sp else (8, 2, 2)
    if layout.recompute == "full":
        # Up to the last thing that backward needs: the block's last sum is not done again.
        per_layer += 3 if layout.sp else 2
    halves = per_layer * sum(len(layers) for layers in _my_stages(run, layout, pp_rank))
    total = 0
    if pp_rank == 0:
        halves += table
    if pp_rank == layout.pp - 1:
        halves += head
        total += _all_reduce(tokens * FLOAT32_BYTES, layout.tp)  # the largest score
        total += _all_reduce(2 * tokens * FLOAT32_BYTES, layout.tp)  # sum, and the target's score
    total = micro_batches(run, layout) * (total + halves * half)
    if layout.sp:
        partial = _owned(buckets, layout, rank, lambda parameter: parameter.copied)
        total += _all_reduce(partial * gradient, layout.tp)
    return total


def _pp(run: RunConfig, layout: Layout, rank: int, buckets: list[Bucket]) -> int:
    if layout.pp == 1:
        return 0
    model, (weight, gradient) = run.model, _widths(run)
    _, pp_rank, _ = _coordinates(rank, layout)
    length = model.seq_len // (layout.tp if layout.sp else 1)
    stages = layout.pp * layout.virtual_stages
    borders = 0
    for stage in range(pp_rank, stages, layout.pp):
        borders += (stage < stages - 1) + (stage > 0)  # activations onwards, gradients back
    per_border = run.train.micro_batch * length * model.d_model * weight
    total = micro_batches(run, layout) * borders * per_border
    if model.tied_head:
        table = _owned(buckets, layout, rank, lambda parameter: parameter.name == TABLE)
        total += _all_reduce(table * gradient, 2)
    return total


def _parameters(run: RunConfig, layout: Layout, pp_rank: int) -> list[list[Parameter]]:
    """Return what this rank holds, layer by layer in the order of the forward pass."""
    model, tp = run.model, layout.tp
    d, f = model.d_model, model.mlp_size
    table = padded_vocab_size(model.vocab_size, tp) * d // tp

    def norm(name: str) -> list[Parameter]:
        weight = Parameter(f"{name}.weight", d, copied=True)
        return [weight, Parameter(f"{name}.bias", d, copied=True)] if model.bias else [weight]

    def linear(name: str, inputs: int, outputs: int, *, row: bool) -> list[Parameter]:
        weight = Parameter(f"{name}.weight", inputs * outputs // tp)
        bias = Parameter(f"{name}.bias", outputs if row else outputs // tp, copied=row)
        return [weight, bias] if model.bias else [weight]

    layers: list[list[Parameter]] = []
    mine = _my_stages(run, layout, pp_rank)
    for chunk, numbers in enumerate(mine):
        if pp_rank == 0 and chunk == 0:
            positions = Parameter("positions.weight", model.seq_len * d, copied=True)
            layers.append([Parameter(TABLE, table), positions])
        for number in numbers:
            block = f"blocks.{number}"
            layers.append(
                norm(f"{block}.norm1")
                + linear(f"{block}.attention.qkv", d, 3 * d, row=False)
                + linear(f"{block}.attention.out", d, d, row=True)
                + norm(f"{block}.norm2")
                + linear(f"{block}.mlp.up", d, f, row=False)
                + linear(f"{block}.mlp.down", f, d, row=True)
            )
        if pp_rank == layout.pp - 1 and chunk == len(mine) - 1:
            layers.append(norm("norm"))
            if not model.tied_head:
                layers[-1].append(Parameter("head.weight", table))
            elif layout.pp > 1:
                layers[-1].append(Parameter(TABLE, table))
    return layers


def _buckets(run: RunConfig, layout: Layout, rank: int) -> list[Bucket]:
    _, pp_rank, _ = _coordinates(rank, layout)
    layers = _parameters(run, layout, pp_rank)
    assert layout.dp is not None
    # Both ends of a pipeline must cut a tied table at the same numbers, so it is by itself there.
    alone = run.model.tied_head and layout.pp > 1
    if layout.zero == 3 and layout.dp > 1:
        return _buckets_by_layer(run, layout, layers, alone)
    groups: list[list[Parameter]] = []
    filled = 0
    for parameter in reversed([parameter for layer in layers for parameter in layer]):
        num_bytes = parameter.numel * FLOAT32_BYTES
        fits = groups and filled + num_bytes <= run.train.bucket_mib * 2**20
        if not fits or alone and TABLE in (parameter.name, groups[-1][0].name):
            groups.append([])
            filled = 0
        groups[-1].append(parameter)
        filled += num_bytes
    return [_bucket(group, layout) for group in groups]


def _buckets_by_layer(
    run: RunConfig, layout: Layout, layers: list[list[Parameter]], alone: bool
) -> list[Bucket]:
    """Return zero 3's buckets: a layer each, fetched for forward and again for backward."""
    buckets = []
    if run.model.tied_head and layout.pp == 1:
        layers = [*layers[1:-1], layers[0] + layers[-1]]  # one table at both ends
    for layer in layers:
        parts = [[parameter] for parameter in layer if alone and parameter.name == TABLE]
        parts.append([parameter for parameter in layer if [parameter] not in parts])
        entrance = {parameter.name for parameter in layer} == {TABLE, "positions.weight"}
        buckets += [_bucket(part, layout, gathers=1 if entrance else 2) for part in parts]
    return buckets


def _bucket(parameters: list[Parameter], layout: Layout, gathers: int = 2) -> Bucket:
    assert layout.dp is not None
    numel = sum(parameter.numel for parameter in parameters)
    return Bucket(parameters, -(-numel // layout.dp) * layout.dp, gathers)


def _owned(
    buckets: list[Bucket], layout: Layout, rank: int, chosen: Callable[[Parameter], bool]
) -> int:
    """Return how many numbers of the chosen parameters this rank's optimizer updates."""
    dp_rank, _, _ = _coordinates(rank, layout)
    assert layout.dp is not None
    total = 0
    for bucket in buckets:
        part = bucket.numel // layout.dp
        first, last = (dp_rank * part, (dp_rank + 1) * part) if layout.zero else (0, bucket.numel)
        start = 0
        for parameter in bucket.parameters:
            stop = start + parameter.numel
            if chosen(parameter):
                total += max(0, min(stop, last) - max(start, first))
            start = stop
    return total


def _my_stages(run: RunConfig, layout: Layout, pp_rank: int) -> list[range]:
    return stage_layers(run.model.num_layers, layout)[pp_rank :: layout.pp]


def _coordinates(rank: int, layout: Layout) -> tuple[int, int, int]:
    """Return (dp rank, pp rank, tp rank), as mesh.py arranges the ranks."""
    assert layout.dp is not None
    return rank // layout.tp % layout.dp, rank // (layout.tp * layout.dp), rank % layout.tp


def _widths(run: RunConfig) -> tuple[int, int]:
    """Return the bytes of a weight or activation, and of a gradient."""
    if run.train.precision == "float32":
        return 4, 4
    return 2, 2 if run.train.grad_dtype == "bf16" else 4


def _all_reduce(num_bytes: int, ranks: int) -> int:
    return 2 * num_bytes * (ranks - 1) // ranks
