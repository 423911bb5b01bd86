"""Every way to arrange so many GPUs, as arrays, and the first rule that each way breaks. No torch.

    candidates = (tp, pp, dp with tp pp dp = N) x chunks x micro-batch x sp x zero x recompute

A mesh that is wrong by itself stands once, whatever the settings. The rules are those of layout.py,
and some against what would run slowly or in vain; memory is the last, and search.py's. Left out on
purpose: stages of unequal size, schedules beyond 1F1B and interleaving, ranks placed otherwise than
parallel/mesh.py does.
"""

import dataclasses
import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np

from course_lib.config import ModelConfig
from course_lib.plan.cases import RECOMPUTE, SELECTIVE, WIDTHS, Array, Cases
from course_lib.plan.hardware import Hardware
from course_lib.plan.software import TORCH, Software

MOST_CANDIDATES = 4_000_000
"""More would take gigabytes; GPUs and batches of round numbers stay far below."""
FREE_SHARE = 0.10
"""Of a GPU's memory that no tensor may have: CUDA, NCCL's buffers and gaps of the allocator. An
assumption: what PyTorch reserves and does not use is a few percent to a tenth in practice."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be trained, and on what."""

    model: ModelConfig
    """Its shape."""
    num_gpus: int
    """All of them work."""
    hardware: Hardware
    """One of those GPUs, and its node."""
    global_batch: int
    """Sequences of a step."""
    precision: Literal["float32", "bf16", "fp16"] = "bf16"
    """Of weights and activations in products."""
    grad_dtype: Literal["float32", "bf16"] = "bf16"
    """Of gradients as they are summed and kept."""
    software: Software = TORCH
    """What the program overlaps and repeats; whether attention is fused and dropout used."""
    offload: bool = False
    """Whether master weights and the optimizer's state lie in the host's memory."""
    tp_across_nodes: bool = False
    """Whether tp groups may reach beyond a node, as they have to where a node has one GPU."""
    stack: float = 1.0
    """Factor over the step time, for the age of the software."""

    def __post_init__(self) -> None:
        for name in ("num_gpus", "global_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but it must be 1 or more")
        if not 0 < self.stack < math.inf:
            raise ValueError(f"stack is {self.stack}, but it is a factor above 0")

    @property
    def peak_flops_per_s(self) -> float:
        """Of the GPU in the run's precision; of 16 bits the faster kind, as kernels.py takes it."""
        peaks = self.hardware.peak_flops_per_s
        return (
            peaks["float32"] if self.precision == "float32" else max(peaks["bf16"], peaks["fp16"])
        )

    @property
    def usable_bytes(self) -> float:
        """Bytes of a GPU that tensors may take; unlimited where its memory is not known."""
        return (1 - FREE_SHARE) * self.hardware.memory_bytes or np.inf


class Reason(IntEnum):
    """The first rule that a candidate breaks, in the order in which they are checked."""

    NONE = 0
    NODE = 1
    HEADS = 2
    MLP = 3
    LAYERS = 4
    REPLICAS = 5
    SEQUENCE = 6
    CHUNKS = 7
    BATCH = 8
    ZERO = 9
    SELECTIVE = 10
    MEMORY = 11

    @property
    def words(self) -> str:
        """Return the rule in a few words, for a table of how many broke it."""
        return {
            Reason.NONE: "fits",
            Reason.NODE: "tp groups reach beyond a node",
            Reason.HEADS: "tp does not divide the heads",
            Reason.MLP: "tp does not divide the MLP",
            Reason.LAYERS: "pp does not divide the layers",
            Reason.REPLICAS: "dp does not divide the batch",
            Reason.SEQUENCE: "sp without tp, or tp does not divide the sequence",
            Reason.CHUNKS: "pp x virtual stages does not divide the layers, or pp is 1",
            Reason.BATCH: "dp x micro-batch does not divide the batch",
            Reason.ZERO: "ZeRO with a single replica",
            Reason.SELECTIVE: "selective recomputation with fused attention",
            Reason.MEMORY: "more memory than the GPU has",
        }[self]


MESH_REASONS = (Reason.NODE, Reason.HEADS, Reason.MLP, Reason.LAYERS, Reason.REPLICAS)
"""Rules that dp, pp and tp break whatever the settings."""


def candidates(request: Request, *, smallest: bool = False) -> Cases:
    """Return every combination of sizes whose product is the number of GPUs, legal or not.

    With `smallest` only those with micro-batches of one sequence and without interleaving.

    Raises:
        ValueError: there are more than MOST_CANDIDATES.
    """
    model, gpus = request.model, request.num_gpus
    meshes = np.array(
        [
            (tp, pp, gpus // tp // pp)
            for tp in divisors(gpus)
            for pp in divisors(gpus // tp)
            if tp <= model.num_heads and pp <= model.num_layers
        ]
    )
    broken = np.logical_or.reduce(list(_mesh_rules(request, *meshes.T).values()))
    wrong, meshes = meshes[broken], meshes[~broken]
    axes = (
        np.arange(len(meshes)),
        np.array([1] if smallest else divisors(model.num_layers)),
        np.array([1] if smallest else divisors(request.global_batch)),
        np.array([False, True]),
        np.arange(4),
        np.arange(len(RECOMPUTE)),
    )
    count = math.prod(len(axis) for axis in axes)
    if count > MOST_CANDIDATES:
        raise ValueError(
            f"{gpus} GPUs, {model.num_layers} layers and a batch of {request.global_batch} can be "
            f"divided in {count:,} ways, more than {MOST_CANDIDATES:,}: ask for rounder numbers"
        )
    columns = [each.ravel() for each in np.meshgrid(*axes, indexing="ij")]
    tp, pp, dp = np.concatenate([meshes[columns[0]], wrong]).T
    plain = (1, 1, False, 0, 0)
    virtual_stages, micro_batch, sp, zero, recompute = (
        np.concatenate([column, np.full(len(wrong), value, dtype=column.dtype)])
        for column, value in zip(columns[1:], plain, strict=True)
    )
    return cases_of(
        request,
        dp=dp,
        pp=pp,
        tp=tp,
        virtual_stages=virtual_stages,
        micro_batch=micro_batch,
        sp=sp,
        zero=zero,
        recompute=recompute,
    )


def cases_of(request: Request, **sizes: Array) -> Cases:
    """Return a case for each row of `sizes`: dp pp tp virtual_stages micro_batch sp zero recompute.

    All else is the request's.
    """
    model = request.model
    return Cases(
        vocab_size=np.array(model.vocab_size),
        seq_len=np.array(model.seq_len),
        num_layers=np.array(model.num_layers),
        num_heads=np.array(model.num_heads),
        d_model=np.array(model.d_model),
        d_ff=np.array(model.mlp_size),
        tied_head=np.array(model.tied_head),
        global_batch=np.array(request.global_batch),
        weight_bytes=np.array(WIDTHS[request.precision]),
        grad_bytes=np.array(4 if request.precision == "float32" else WIDTHS[request.grad_dtype]),
        offload=np.array(request.offload),
        fused_attention=np.array(request.software.fused_attention),
        dropout=np.array(request.software.dropout),
        **sizes,
    )


def broken_rules(cases: Cases, request: Request) -> Array:
    """Return the first rule, but for memory, that each candidate breaks (Reason)."""
    stages = cases.pp * cases.virtual_stages
    rules = _mesh_rules(request, cases.tp, cases.pp, cases.dp) | {
        Reason.SEQUENCE: cases.sp & ((cases.tp == 1) | (cases.seq_len % cases.tp != 0)),
        Reason.CHUNKS: (cases.num_layers % stages != 0)
        | (cases.virtual_stages > 1) & (cases.pp == 1),
        Reason.BATCH: cases.global_batch % (cases.dp * cases.micro_batch) != 0,
        Reason.ZERO: (cases.zero > 0) & (cases.dp == 1),
        Reason.SELECTIVE: (cases.recompute == SELECTIVE) & cases.fused_attention,
    }
    reasons = np.zeros(len(cases.tp), dtype=np.int8)
    for reason, broken in reversed(rules.items()):
        reasons[broken] = reason
    return reasons


def _mesh_rules(request: Request, tp: Array, pp: Array, dp: Array) -> dict[Reason, Array]:
    """Return which meshes break which of MESH_REASONS."""
    model = request.model
    # Ranks count tp first: groups of 3 in nodes of 8 would lie across two nodes here and there.
    node = min(request.hardware.gpus_per_node, request.num_gpus)
    return {
        Reason.NODE: (node % tp != 0) & ~np.asarray(request.tp_across_nodes),
        Reason.HEADS: model.num_heads % tp != 0,
        Reason.MLP: model.mlp_size % tp != 0,
        Reason.LAYERS: model.num_layers % pp != 0,
        Reason.REPLICAS: request.global_batch % dp != 0,
    }


def take(cases: Cases, indices: Array) -> Cases:
    """Return some of the cases, in the order of their indices."""
    fields = {each.name: getattr(cases, each.name) for each in dataclasses.fields(Cases)}
    return Cases(
        **{name: value[indices] if value.ndim else value for name, value in fields.items()}
    )


def divisors(number: int) -> list[int]:
    """Return all divisors of a number, from 1 up."""
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})
