"""Which part of a weight a rank holds: one description for cutting, saving, loading and comparing.

A weight may be cut twice. Tensor parallelism cuts a dim of it; ZeRO then cuts what is left, as a
flat list of numbers, wherever a bucket happens to end. A `Slice` describes the first, a `Piece`
both. `Slice.join` and `assemble` undo them: that is how a checkpoint is loaded into another layout,
and how a test gets a full gradient to compare.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One of `parts` equal parts of a tensor along a dim; with dim None the whole tensor."""

    shape: tuple[int, ...]
    """Of the full tensor."""
    dim: int | None = None
    blocks: int = 1
    """Blocks along the dim that are each cut by themselves: 3 for query, key and value in one."""
    parts: int = 1
    index: int = 0

    @property
    def padded(self) -> int:
        """Length of the dim, rounded up to a multiple of the parts (a vocabulary may need it)."""
        assert self.dim is not None
        multiple = self.blocks * self.parts
        return -(-self.shape[self.dim] // multiple) * multiple

    @property
    def local_shape(self) -> tuple[int, ...]:
        """Shape of the part."""
        if self.dim is None:
            return self.shape
        shape = list(self.shape)
        shape[self.dim] = self.padded // self.parts
        return tuple(shape)

    def cut(self, full: Tensor) -> Tensor:
        """Return this part of the full tensor; what lies beyond its end is zero."""
        if self.dim is None:
            return full
        missing = self.padded - full.shape[self.dim]
        if missing:
            full = F.pad(full, [0, 0] * (full.dim() - 1 - self.dim) + [0, missing])
        blocks = full.unflatten(self.dim, (self.blocks, -1))
        part = blocks.chunk(self.parts, self.dim + 1)[self.index]
        return part.flatten(self.dim, self.dim + 1).contiguous()

    def join(self, parts: list[Tensor]) -> Tensor:
        """Return the full tensor of which these are all parts, in order, without the padding."""
        if self.dim is None:
            return parts[0]
        blocks = [part.unflatten(self.dim, (self.blocks, -1)) for part in parts]
        full = torch.cat(blocks, self.dim + 1).flatten(self.dim, self.dim + 1)
        return full.narrow(self.dim, 0, self.shape[self.dim])

    def of_bias(self) -> "Slice":
        """Return the cut of the bias that belongs to a weight cut by columns (dim 0)."""
        return replace(self, shape=self.shape[:1])


@dataclass(frozen=True, kw_only=True)
class Piece:
    """The numbers start..stop of a slice, laid out flat."""

    name: str
    """Of the parameter in the whole model."""
    slice: Slice
    start: int
    stop: int

    @property
    def whole(self) -> bool:
        """Whether it is all of the slice."""
        return self.stop - self.start == _numel(self.slice.local_shape)


def assemble(pieces: Iterable[tuple[Piece, Tensor]]) -> Tensor:
    """Return the full tensor that these pieces of one parameter make up.

    Raises:
        ValueError: numbers are missing; the message names the parameter.
    """
    pieces = list(pieces)
    first = pieces[0][0]
    parts = []
    for index in range(first.slice.parts):
        mine = [(piece, values) for piece, values in pieces if piece.slice.index == index]
        shape = replace(first.slice, index=index).local_shape
        flat = torch.empty(_numel(shape), dtype=pieces[0][1].dtype)
        covered = 0
        for piece, values in sorted(mine, key=lambda entry: entry[0].start):
            if piece.start > covered:
                break
            flat[piece.start : piece.stop] = values.flatten()
            covered = max(covered, piece.stop)
        if covered < len(flat):
            raise ValueError(
                f"{first.name} is incomplete: part {index} of {first.slice.parts} has "
                f"{covered} of {len(flat)} numbers"
            )
        parts.append(flat.view(shape))
    return first.slice.join(parts)


def _numel(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()
