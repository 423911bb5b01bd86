"""The one place that knows in which order parallelism is applied to a model.

    cut into stages (pp) -> cut the layers (tp, sp) -> weights -> precision -> recomputation
    -> split backward (zero-bubble) -> gradients over dp, optimizer shards (ZeRO)

and, after the backward pass of the last micro-batch, in which order gradients are put together:

    over dp -> over tp, what sequence parallelism left partial -> over both ends, a tied token table

The model comes in knowing nothing of ranks. A learner's own piece is passed as an argument
(`shard`, `reduce`, `schedule`), and then the real trainer and the parity tests run with it: no
registry, no patching.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.config import Layout, RunConfig
from course_lib.layout import check_layout
from course_lib.model.attention import ATTENTIONS, Attention
from course_lib.model.gpt import GPT, Block
from course_lib.model.gpt import Attention as AttentionLayer
from course_lib.model.init import initial_weight
from course_lib.parallel import comm
from course_lib.parallel.data import (
    Bucketed,
    Gradients,
    Reduce,
    ReducedBy,
    Shard,
    Slot,
    group_slots,
)
from course_lib.parallel.eager import let_compiler_in
from course_lib.parallel.mesh import Mesh
from course_lib.parallel.pipeline import (
    WeightGradients,
    cut_stages,
    execute,
    forward_only,
    split_backward,
)
from course_lib.parallel.recompute import apply_recompute
from course_lib.parallel.slices import Slice
from course_lib.parallel.tensor import (
    SHARD_TABLE,
    ShardTable,
    apply_tensor_parallel,
    vocab_parallel_loss,
)
from course_lib.parallel.zero import Sharded
from course_lib.profile.regions import named
from course_lib.schedule import (
    Op,
    Schedule,
    Transfer,
    build_schedule,
    check_schedule,
    has_split_backward,
    posts,
)

BuildSchedule = Callable[[int, int, int], Schedule]
"""(pipeline ranks p, micro-batches m, chunks per rank v) -> schedule."""

Plan = tuple[list[Op], list[list[Transfer]]]
"""One rank's ops, and what it sends and receives between them."""

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class ParallelModel:
    """A model as one rank holds it, and how its gradients become those of the whole batch."""

    module: nn.ModuleList
    """The chunks of the model that this rank computes."""
    run: RunConfig
    layout: Layout
    """With all sizes known."""
    mesh: Mesh
    """Where this rank stands."""
    gradients: Gradients
    build_schedule: BuildSchedule
    later: WeightGradients | None
    partial_over_tp: frozenset[str]
    """Parameters whose gradient each tp rank has for its own tokens only (sequence parallelism)."""
    plans: dict[tuple[int, bool], Plan] = field(default_factory=dict)
    """What this rank does, by number of micro-batches and whether there is a backward pass."""

    @property
    def shards(self) -> list[Shard]:
        """What this rank's optimizer updates, each with weight and gradient."""
        return self.gradients.shards

    def forward_backward(self, micro_batches: Sequence[Tensor], scale: float) -> Tensor:
        """Send micro-batches (B, T + 1) forwards and backwards; return the summed loss ()+world.

        Args:
            micro_batches: this dp rank's, on its device.
            scale: what to multiply the loss with before backward: 1 / tokens of the global batch.
        """
        self.gradients.start(len(micro_batches))
        plan = self._plan(len(micro_batches), backward=True)
        return self._execute(plan, micro_batches, scale=scale, later=self.later)

    @torch.no_grad()
    def forward(self, micro_batches: Sequence[Tensor]) -> Tensor:
        """Send micro-batches forwards only; return the summed loss ()+world."""
        return self._execute(self._plan(len(micro_batches), backward=False), micro_batches)

    @torch.no_grad()
    def finish_gradients(self) -> None:
        """Make the shards' gradients those of the whole batch."""
        self.gradients.finish()
        partial = [s for s in self.shards if s.piece.name in self.partial_over_tp]
        if partial:
            flat = torch.cat([_gradient(shard) for shard in partial])
            comm.all_reduce(flat, self.mesh.tp)
            for shard, part in zip(
                partial, flat.split([len(shard.weight) for shard in partial]), strict=True
            ):
                _gradient(shard).copy_(part)
        for shard in self.shards:
            if is_tied_table(shard.piece.name, self.run):
                comm.all_reduce(_gradient(shard), self.mesh.ends)

    def publish(self) -> None:
        """Give the optimizer's new weights to the model."""
        self.gradients.publish()

    def _plan(self, micro_batches: int, *, backward: bool) -> Plan:
        key = (micro_batches, backward)
        if key not in self.plans:
            pp, chunks = self.layout.pp, self.layout.virtual_stages
            schedule = self.build_schedule(pp, micro_batches, chunks)
            check_schedule(schedule, pp, micro_batches, chunks)
            if not backward:
                schedule = forward_only(schedule)
            rank = self.mesh.pp.rank
            self.plans[key] = (schedule[rank], posts(schedule)[rank])
        return self.plans[key]

    def _execute(self, plan: Plan, micro_batches: Sequence[Tensor], **options: Any) -> Tensor:
        config, mesh = self.run.model, self.mesh
        length = config.seq_len // (mesh.tp.size if self.layout.sp else 1)
        dtype = next(self.module.parameters()).dtype
        total = execute(
            *plan,
            list(self.module),
            mesh.pp,
            micro_batches,
            loss=lambda y, targets: vocab_parallel_loss(y, targets, mesh.tp, config.vocab_size),
            like=lambda size: torch.empty(
                size, length, config.d_model, dtype=dtype, device=mesh.device
            ),
            **options,
        )
        # All tp ranks have computed the same loss; the sum over the world must hold it once.
        return total if mesh.tp.rank == 0 else torch.zeros_like(total)


def parallelize(
    model: GPT,
    run: RunConfig,
    mesh: Mesh,
    *,
    shard: ShardTable = SHARD_TABLE,
    reduce: Reduce | None = None,
    schedule: BuildSchedule | None = None,
    attention: Attention = "sdpa",
) -> ParallelModel:
    """Put a model to work on the ranks of a mesh.

    Args:
        model: the full model, with the same weights on every rank; or on the meta device, without
            weights: then each rank draws its own part of the initial ones (model/init.py).
        run: its layout must fit the mesh.
        mesh: this rank's place.
        shard: how tp cuts each layer.
        reduce: sums the gradients over the dp axis, called with the model and the mesh after the
            last backward; left out, they are summed in buckets while backward runs.
        schedule: the pipeline's order of work; left out, the one that the layout names.
        attention: which attention core computes.

    Raises:
        ValueError: the layout or batch does not fit the number of ranks, or `reduce` is given with
            ZeRO, which reduces in its own way.
    """
    layout = check_layout(run, mesh.world_size)
    if reduce is not None and layout.zero:
        raise ValueError(
            f"zero is {layout.zero}, which sums gradients in its own way, but a reduce function "
            "was given too: set zero to 0, or leave reduce out"
        )
    build = schedule or (lambda p, m, v: build_schedule(layout.schedule, p, m, v))
    chunks = nn.ModuleList(cut_stages(model, layout, mesh.pp.rank))
    slices: dict[str, Slice] = {}
    for chunk in chunks:
        assert isinstance(chunk, GPT)
        cut = apply_tensor_parallel(chunk, mesh.tp, sp=layout.sp, table=shard)
        _materialise(chunk, cut, run, mesh.device)
        for layer in chunk.modules():
            if isinstance(layer, AttentionLayer):
                layer.core = named(ATTENTIONS[attention], "layer", "core")
        apply_recompute(chunk, layout.recompute)
        slices |= cut
    if run.train.compile:
        let_compiler_in()
        for block in (module for module in chunks.modules() if isinstance(module, Block)):
            block.compile()
    slots = [
        Slot(name=_full_name(name, run), parameter=parameter, slice=slices[name])
        for chunk in chunks
        for name, parameter in chunk.named_parameters()
    ]
    later = None
    if has_split_backward(build(layout.pp, 1, layout.virtual_stages)):
        later = split_backward(chunks)
    gradients = _build_gradients(chunks, slots, run, layout, mesh, reduce)
    if later is not None:
        later.arrived = gradients.arrived
    partial = {s.name for s in slots if layout.sp and s.slice.dim is None}
    for each in gradients.shards:
        each.counted = _counts(each, run, layout, mesh)
    return ParallelModel(
        module=chunks,
        run=run,
        layout=layout,
        mesh=mesh,
        gradients=gradients,
        build_schedule=build,
        later=later,
        partial_over_tp=frozenset(partial),
    )


def is_tied_table(name: str, run: RunConfig) -> bool:
    """Tell whether a parameter is a token table that is also the head."""
    return run.model.tied_head and name == "tokens.weight"


def _full_name(name: str, run: RunConfig) -> str:
    """Return a parameter's name in the whole model: a last stage holds a tied table as its head."""
    return "tokens.weight" if run.model.tied_head and name == "head.weight" else name


@torch.no_grad()
def _materialise(
    chunk: GPT, slices: dict[str, Slice], run: RunConfig, device: torch.device
) -> None:
    """Move a chunk to its device, in place; a chunk without memory gets memory and weights."""
    if not next(chunk.parameters()).is_meta:
        chunk.to(device)
        return
    chunk.to_empty(device=device)
    if run.model.tied_head and chunk.head is not None and chunk.tokens is not None:
        chunk.head.weight = chunk.tokens.weight  # to_empty gave each memory of its own
    for name, parameter in chunk.named_parameters():
        cut, full = slices[name], _full_name(name, run)
        value = initial_weight(full, cut.shape, seed=run.train.seed, config=run.model)
        parameter.copy_(cut.cut(value))


def _build_gradients(
    chunks: nn.ModuleList,
    slots: list[Slot],
    run: RunConfig,
    layout: Layout,
    mesh: Mesh,
    reduce: Reduce | None,
) -> Gradients:
    own = slots[0].parameter.dtype
    low = run.train.precision != "float32"
    dtype = DTYPES[run.train.precision] if low else own  # a float64 model stays one
    if reduce is not None:
        return ReducedBy(slots, dtype, chunks, mesh, reduce)
    grad_dtype = DTYPES[run.train.grad_dtype] if low else own
    # Both ends of the pipeline must cut a tied table at the same numbers.
    alone = {"tokens.weight"} if layout.pp > 1 and run.model.tied_head else set()
    stage = layout.zero if mesh.dp.size > 1 else 0
    if stage == 3:
        layers = _layers(chunks, slots)
        groups = [group for group, _, _ in layers]
        gradients = Sharded(slots, dtype, grad_dtype, groups, mesh.dp, stage)
        for number, (_, modules, backward) in enumerate(layers):
            gradients.gather_when_needed(number, modules, backward)
        return gradients
    groups = group_slots(slots, run.train.bucket_mib * 2**20, alone)
    if stage == 0:
        return Bucketed(slots, dtype, grad_dtype, groups, mesh.dp)
    return Sharded(slots, dtype, grad_dtype, groups, mesh.dp, stage)


def _layers(
    chunks: nn.ModuleList, slots: list[Slot]
) -> list[tuple[list[Slot], list[nn.Module], bool]]:
    """Return stage 3's buckets: a layer each, the modules that use it, whether backward does."""
    by_parameter = {slot.parameter: slot for slot in slots}
    layers: list[tuple[list[Slot], list[nn.Module], bool]] = []
    for chunk in chunks:
        assert isinstance(chunk, GPT)
        entrance = [module for module in (chunk.tokens, chunk.positions) if module is not None]
        ends = [module for module in (chunk.norm, chunk.head) if module is not None]
        shared = bool(entrance and ends) and chunk.config.tied_head
        units = [[block] for block in chunk.blocks.values()]
        # One table at both ends of a chunk stays in memory from the one to the other.
        units += [entrance + ends] if shared else [unit for unit in (entrance, ends) if unit]
        for unit in units:
            parameters = dict.fromkeys(p for module in unit for p in module.parameters())
            group = [by_parameter[parameter] for parameter in parameters]
            # A tied table at one end of a pipeline must be cut as at the other end: by itself.
            alone = [] if shared else [slot for slot in group if slot.name == "tokens.weight"]
            for part in (alone, [slot for slot in group if slot not in alone]):
                if part:
                    layers.append((part, unit, unit is not entrance))
    return layers


def _counts(shard: Shard, run: RunConfig, layout: Layout, mesh: Mesh) -> bool:
    """Tell whether this rank, of all that hold a shard, counts it: the others must not."""
    copied_over_dp = layout.zero == 0 or mesh.dp.size == 1
    copied_over_tp = shard.piece.slice.dim is None
    second_copy = is_tied_table(shard.piece.name, run) and mesh.ends.rank == 1
    return (
        not (copied_over_dp and mesh.dp.rank > 0)
        and not (copied_over_tp and mesh.tp.rank > 0)
        and not second_copy
    )


def _gradient(shard: Shard) -> Tensor:
    assert shard.grad is not None, shard.piece.name
    return shard.grad
