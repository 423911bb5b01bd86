"""Many runs side by side, as arrays: what the planner computes with. No torch.

A formula over arrays costs a hundred thousand layouts about as much as Python takes for ten, so
memory, step time and search are written for arrays, and one run is an array of one. A field holds
a number for every case, or one for all of them (numpy broadcasting). Left out on purpose: whether
a case is legal (search.py), and what only a run that is trained here has (seed, learning rate).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course_lib.config import RunConfig
from course_lib.layout import check_layout

Array = NDArray[Any]
RECOMPUTE = ("none", "selective", "full")
"""By number, as `Cases.recompute` holds it."""
NONE, SELECTIVE, FULL = range(len(RECOMPUTE))
WIDTHS = {"float32": 4, "bf16": 2, "fp16": 2}
"""Bytes of a number."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cases:
    """Runs to be planned; each field is an array, or a number for all of them.

    As in ModelConfig: vocab_size, seq_len, num_layers, num_heads, d_model, d_ff. As in Layout: the
    ranks along dp, pp and tp, and virtual_stages.
    """

    vocab_size: Array
    seq_len: Array
    num_layers: Array
    num_heads: Array
    d_model: Array
    d_ff: Array
    tied_head: Array
    """Whether the head is the token table (bool)."""
    global_batch: Array
    """Sequences of a step, over all ranks."""
    micro_batch: Array
    """Sequences that a rank works on at a time."""
    dp: Array
    pp: Array
    tp: Array
    sp: Array
    """Sequence parallelism over tp (bool)."""
    virtual_stages: Array
    zero: Array
    """0 to 3."""
    recompute: Array
    """0 none, 1 selective, 2 full."""
    weight_bytes: Array
    """Of a weight and of an activation: 2, or 4 without mixed precision."""
    grad_bytes: Array
    """Of a gradient as it is summed and kept."""
    offload: Array
    """Whether master weights and the optimizer's state lie in the host's memory (bool)."""
    fused_attention: Array
    """Whether attention keeps no T x T weights (bool): SDPA or FlashAttention."""
    dropout: Array
    """Whether dropout's masks are kept for backward (bool)."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, np.asarray(getattr(self, field.name)))

    @classmethod
    def of(cls, runs: Sequence[tuple[RunConfig, int]]) -> Cases:
        """Return runs as the trainer would run them, each with its number of ranks.

        Raises:
            ValueError: a run does not fit on its ranks; the message shows the arithmetic.
        """
        rows = [(run, check_layout(run, world_size)) for run, world_size in runs]

        def column(value: Any) -> Array:
            return np.array([value(run, layout) for run, layout in rows])

        return cls(
            vocab_size=column(lambda run, _: run.model.vocab_size),
            seq_len=column(lambda run, _: run.model.seq_len),
            num_layers=column(lambda run, _: run.model.num_layers),
            num_heads=column(lambda run, _: run.model.num_heads),
            d_model=column(lambda run, _: run.model.d_model),
            d_ff=column(lambda run, _: run.model.mlp_size),
            tied_head=column(lambda run, _: run.model.tied_head),
            global_batch=column(lambda run, _: run.train.global_batch),
            micro_batch=column(lambda run, _: run.train.micro_batch),
            dp=column(lambda _, layout: layout.dp),
            pp=column(lambda _, layout: layout.pp),
            tp=column(lambda _, layout: layout.tp),
            sp=column(lambda _, layout: layout.sp),
            virtual_stages=column(lambda _, layout: layout.virtual_stages),
            zero=column(lambda _, layout: layout.zero),
            recompute=column(lambda _, layout: RECOMPUTE.index(layout.recompute)),
            weight_bytes=column(lambda run, _: WIDTHS[run.train.precision]),
            grad_bytes=column(lambda run, _: WIDTHS[run.train.grad_dtype]),
            offload=np.array(False),
            fused_attention=np.array(True),
            dropout=np.array(False),
        )

    def replace(self, **changes: Any) -> Cases:
        """Return the same cases with other values in some fields."""
        return dataclasses.replace(self, **changes)

    def __len__(self) -> int:
        values = [getattr(self, field.name) for field in dataclasses.fields(self)]
        return int(np.prod(np.broadcast_shapes(*(value.shape for value in values))))

    @property
    def num_gpus(self) -> Array:
        """Ranks of each case."""
        return self.dp * self.pp * self.tp

    @property
    def micro_batches(self) -> Array:
        """Micro-batches that each rank works through in a step (m)."""
        return self.global_batch // (self.dp * self.micro_batch)

    @property
    def layers_per_stage(self) -> Array:
        """Layers of the pipeline rank that has most, over all its virtual stages."""
        stages = self.pp * self.virtual_stages
        return -(-self.num_layers // stages) * self.virtual_stages
