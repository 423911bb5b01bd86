"""How long a GPU works on a layer and on the head, from the shapes alone. No torch.

A matrix product (m, k) x (k, n) of w-byte numbers takes the sum of two times, as a tile's first
reads and last writes overlap with little (the roofline of Williams et al. 2009 takes the longer):

    2 m k n / (peak x gemm_share x waves(m, n) x alignment)
    (m k + k n + m n) w / (memory bandwidth x memory_share)

Its result is cut into tiles of up to 128 x 256; the SMs work on one each, so the last wave is
partly empty (NVIDIA, "Matrix Multiplication Background User's Guide"). Backward has two products
for each: the input's gradient (m, n) x (n, k) and the weight's (k, m) x (m, n). Everything else is
counted as bytes through memory. Left out on purpose: what the L2 cache saves.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from course_lib.plan.cases import Array, Cases
from course_lib.plan.constants import Constants
from course_lib.plan.hardware import Hardware

AMPERE = 3
"""The generation of tensor cores that FlashAttention 2 and the Triton kernels were written for."""
NARROW = 256
"""Widths from which a product is counted as badly aligned."""


class Tile(NamedTuple):
    """What a multiprocessor works on at a time."""

    rows: int
    """Of the result."""
    columns: int
    """Of the result."""
    share: float
    """Of the rate that the largest ones reach: small ones read more per FLOP."""


TILES = (
    Tile(128, 256, 1.0),
    Tile(256, 128, 1.0),
    Tile(128, 128, 0.95),
    Tile(64, 128, 0.75),
    Tile(128, 64, 0.75),
)


SHAPES = (
    "vocab_size seq_len num_heads d_model d_ff micro_batch tp sp weight_bytes "
    "fused_attention dropout"
).split()
"""The fields of a case that its kernels depend on."""


@dataclass(frozen=True, eq=False)
class Work:
    """Seconds of one micro-batch, by kind."""

    gemm: Array
    """Matrix products."""
    attention: Array
    """Scores, softmax and the weighted sum."""
    elementwise: Array
    """All else: it takes what its bytes take."""

    @property
    def total(self) -> Array:
        """Their sum, in seconds."""
        return self.gemm + self.attention + self.elementwise

    def __add__(self, other: Work) -> Work:
        return Work(
            self.gemm + other.gemm,
            self.attention + other.attention,
            self.elementwise + other.elementwise,
        )

    def times(self, factor: Array | float) -> Work:
        """Return each kind times a factor."""
        return Work(self.gemm * factor, self.attention * factor, self.elementwise * factor)

    def spread(self, place: Array) -> Work:
        """Return the work of each case, which is that of distinct case number `place`."""
        parts = np.broadcast_arrays(self.gemm, self.attention, self.elementwise)
        return Work(*(np.atleast_1d(part)[place] for part in parts))


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """A GPU's kernels for the given cases."""

    cases: Cases
    """Runs whose shapes are asked for."""
    hardware: Hardware
    """The GPU."""
    constants: Constants
    """Fitted once (constants.py)."""

    def gemm(self, m: Array, k: Array, n: Array, batch: Array | float = 1.0) -> Array:
        """Return the seconds of (m, k) x (k, n), done for `batch` pairs at once."""
        m, k, n = (np.asarray(size, dtype=float) for size in (m, k, n))
        constants = self.constants
        share = constants.gemm_share * _waves(m, n, batch, self.hardware.multiprocessors)
        # Narrow ones, as the heads of attention, are padded to a tile, which waves count.
        aligned = _multiple(64, *(np.where(size < NARROW, 0.0, size) for size in (m, k, n)))
        share = share * np.where(aligned, 1.0, constants.off_64_share)
        if self.hardware.tensor_cores > AMPERE:
            share = share * constants.gemm_after_ampere
        share = share * np.where(_multiple(8, m, k, n), 1.0, constants.off_8_share)
        numbers = batch * (m * k + k * n + m * n)
        computing = 2 * batch * m * k * n / (self._peak * share)
        return computing + self.memory(numbers * self.cases.weight_bytes)

    def memory(self, num_bytes: Array) -> Array:
        """Return the seconds of so many bytes, read and written."""
        bytes_per_s = self.hardware.memory_bytes_per_s * self.constants.memory_share
        return num_bytes / bytes_per_s

    def layer(self) -> tuple[Work, Work]:
        """Return forward and backward of a block on one tp rank."""
        cases = self.cases
        tokens = cases.micro_batch * cases.seq_len
        d, f, tp = cases.d_model, cases.d_ff, cases.tp
        shapes = ((d, 3 * d / tp), (d / tp, d), (d, f / tp), (f / tp, d))
        forward = sum(self.gemm(tokens, k, n) for k, n in shapes)
        backward = sum(self.gemm(tokens, n, k) + self.gemm(k, tokens, n) for k, n in shapes)
        attention_forward, attention_backward = self._attention()
        # Numbers read and written: norms 2 x 2, biases and residuals 2 x 3, GELU 2 F.
        whole = 10 * d * np.where(cases.sp, 1 / tp, 1.0) + np.where(cases.dropout, 2 * d, 0)
        numbers = tokens * (whole + 2 * f / tp)
        element = self.memory(numbers * cases.weight_bytes)
        return (
            Work(np.asarray(forward), attention_forward, element),
            Work(np.asarray(backward), attention_backward, 1.5 * element),
        )

    def early_stop(self) -> Array:
        """Return the seconds saved by recomputing only up to what backward needs."""
        cases = self.cases
        return self.gemm(cases.micro_batch * cases.seq_len, cases.d_ff / cases.tp, cases.d_model)

    def head(self) -> tuple[Work, Work]:
        """Return forward and backward of the logits and the loss on one tp rank."""
        cases = self.cases
        tokens, d = cases.micro_batch * cases.seq_len, cases.d_model
        columns = np.ceil(cases.vocab_size / cases.tp)
        nothing = np.zeros(1)
        # The loss works in float32: once over the logits for the largest, once for the sum.
        loss = self.memory(tokens * columns * self.constants.loss_bytes)
        return (
            Work(self.gemm(tokens, d, columns), nothing, loss),
            Work(
                self.gemm(tokens, columns, d) + self.gemm(d, tokens, columns),
                nothing,
                loss / 2,
            ),
        )

    def _attention(self) -> tuple[Array, Array]:
        cases = self.cases
        heads = cases.micro_batch * cases.num_heads / cases.tp
        length, size = cases.seq_len, cases.d_model / cases.num_heads
        # Fused: the causal half of 4 T T K, and 2.5 times that backward (FlashAttention).
        flops = 2 * heads * length * length * size
        share = self.constants.attention_share
        if self.hardware.tensor_cores > AMPERE:
            share *= self.constants.attention_after_ampere
        fused = flops / (self._peak * share)
        products = self.gemm(length, size, length, heads) + self.gemm(length, length, size, heads)
        # Softmax reads and writes the scores, dropout again and its mask of a byte; backward of
        # softmax reads its result and a gradient and writes one.
        scores = heads * length * length
        softmax = self.memory(scores * 2 * cases.weight_bytes)
        dropout = np.where(cases.dropout, self.memory(scores * (2 * cases.weight_bytes + 1)), 0.0)
        plain = products + softmax + dropout
        plain_backward = 2 * products + 1.5 * softmax + dropout
        return (
            np.where(cases.fused_attention, fused, plain),
            np.where(cases.fused_attention, 2.5 * fused, plain_backward),
        )

    @property
    def _peak(self) -> Array:
        peaks = self.hardware.peak_flops_per_s
        half = max(peaks["bf16"], peaks["fp16"])  # a V100 is fast in one of them only
        return np.where(self.cases.weight_bytes == 4, peaks["float32"], half)


def distinct(cases: Cases) -> tuple[Cases, Array]:
    """Return the cases whose kernels differ, and for each case the number of its like.

    A search has a hundred thousand layouts, but only some ten pairs of micro-batch and tp.
    """
    code = np.zeros(len(cases), dtype=np.int64)
    for name in SHAPES:
        values, number = np.unique(getattr(cases, name), return_inverse=True)
        if len(values) > 1:
            code = np.unique(code * len(values) + number, return_inverse=True)[1]
    _, first, place = np.unique(code, return_index=True, return_inverse=True)
    fields = {field.name: getattr(cases, field.name) for field in dataclasses.fields(Cases)}
    few = {name: np.broadcast_to(value, code.shape)[first] for name, value in fields.items()}
    return Cases(**few), place


def _multiple(of: int, *sizes: Array) -> Array:
    """Return whether all sizes are multiples of a power of two."""
    whole = [size * (1 / of) for size in sizes]  # much faster than a remainder, and exact
    return np.logical_and.reduce(np.broadcast_arrays(*(each == np.floor(each) for each in whole)))


def _waves(m: Array, n: Array, batch: Array | float, multiprocessors: int) -> Array:
    """Return the share of the SMs' work that is wanted, with the best tile."""
    if multiprocessors == 1:  # a CPU: what it reaches was measured
        return np.ones(())
    rows = {size: np.ceil(m / size) * batch for size in {tile.rows for tile in TILES}}
    columns = {size: np.ceil(n / size) for size in {tile.columns for tile in TILES}}
    least = np.full((), np.inf)
    for tile in TILES:
        waves = np.ceil(rows[tile.rows] * columns[tile.columns] / multiprocessors)
        least = np.minimum(least, waves * (tile.rows * tile.columns / tile.share))
    return batch * m * n / (least * multiprocessors)
