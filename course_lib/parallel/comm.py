"""The one door to the network: every collective of the library goes through this file.

So there is one place to count bytes, to add a timer, or to read when you wonder what a layout
sends. Each function takes the axis it works along; along an axis of size 1 nothing is sent and
nothing counted. Counted are the bytes that a rank hands over, not those on the wire: those depend
on the algorithm (a ring all-reduce sends 2 (n - 1) / n times the tensor from every rank).
"""

from typing import Any

import torch.distributed as dist
from torch import Tensor

from course_lib.parallel.mesh import Axis


def all_reduce(tensor: Tensor, axis: Axis) -> Tensor:
    """Sum a tensor over the axis, in place: (...)+axis -> (...); return the same tensor."""
    if axis.size > 1:
        _count(axis, tensor.nbytes)
        dist.all_reduce(tensor, group=axis.group)
    return tensor


def broadcast(tensor: Tensor, axis: Axis, source: int = 0) -> Tensor:
    """Overwrite the tensor with that of the rank at coordinate `source`, in place; return it."""
    if axis.size > 1:
        _count(axis, tensor.nbytes)
        dist.broadcast(tensor, group=axis.group, group_src=source)
    return tensor


def all_gather_object(value: Any, axis: Axis) -> list[Any]:
    """Return the values of all ranks, in their order; for small things such as host names."""
    if axis.size == 1:
        return [value]
    values: list[Any] = [None] * axis.size
    # Not counted: this is for reports about a run, never part of a training step.
    dist.all_gather_object(values, value, group=axis.group)
    return values


def barrier(axis: Axis) -> None:
    """Wait until every rank of the axis has come here."""
    if axis.size > 1:
        _count(axis, 0)
        dist.barrier(group=axis.group)


def bytes_by_axis(axes: tuple[Axis, ...]) -> dict[str, int]:
    """Return the bytes that this rank has handed over so far, by axis name."""
    return {axis.name: axis.traffic.num_bytes for axis in axes}


def _count(axis: Axis, num_bytes: int) -> None:
    axis.traffic.num_bytes += num_bytes
    axis.traffic.num_calls += 1
