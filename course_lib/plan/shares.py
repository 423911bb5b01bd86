"""What each rank holds of a model, from the run's numbers alone: parameters, buckets, its share.

The same cuts as parallel/ makes, without torch or ranks: traffic.py and memory.py count with them,
and their tests compare with what really runs.
"""

from typing import NamedTuple

from course_lib.config import Layout, RunConfig
from course_lib.layout import padded_vocab_size, stage_layers

FLOAT32_BYTES = 4
TABLE = "tokens.weight"


class Parameter(NamedTuple):
    """A parameter as one rank holds it."""

    name: str
    """As the model names it."""
    numel: int
    """Numbers after the cut over tp."""
    copied: bool = False
    """Whether every tp rank holds all of it."""


class Bucket(NamedTuple):
    """Parameters that travel together along dp."""

    parameters: list[Parameter]
    """In the order of its memory."""
    numel: int
    """Numbers in it, rounded up to a multiple of dp."""
    gathers: int = 2
    """How often zero 3 fetches it per micro-batch: a table's backward needs no weights."""


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
    mine = my_stages(run, layout, pp_rank)
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


def buckets(run: RunConfig, layout: Layout, rank: int) -> list[Bucket]:
    """Return the buckets of a rank, in the order in which its gradients fill them."""
    _, pp_rank, _ = coordinates(rank, layout)
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


def owned(buckets: list[Bucket], layout: Layout, rank: int) -> list[tuple[Parameter, int]]:
    """Return of each parameter that this rank's optimizer updates how many numbers it does."""
    dp_rank, _, _ = coordinates(rank, layout)
    assert layout.dp is not None
    found = []
    for bucket in buckets:
        part = bucket.numel // layout.dp
        first, last = (dp_rank * part, (dp_rank + 1) * part) if layout.zero else (0, bucket.numel)
        start = 0
        for parameter in bucket.parameters:
            stop = start + parameter.numel
            count = min(stop, last) - max(start, first)
            if count > 0:
                found.append((parameter, count))
            start = stop
    return found


def my_stages(run: RunConfig, layout: Layout, pp_rank: int) -> list[range]:
    """Return the blocks of each stage that a pipeline rank holds."""
    return stage_layers(run.model.num_layers, layout)[pp_rank :: layout.pp]


def coordinates(rank: int, layout: Layout) -> tuple[int, int, int]:
    """Return (dp rank, pp rank, tp rank), as mesh.py arranges the ranks."""
    assert layout.dp is not None
    return rank // layout.tp % layout.dp, rank // (layout.tp * layout.dp), rank % layout.tp


def widths(run: RunConfig) -> tuple[int, int]:
    """Return the bytes of a weight or activation, and of a gradient."""
    if run.train.precision == "float32":
        return 4, 4
    return 2, 2 if run.train.grad_dtype == "bf16" else 4
