"""Where a rank stands: its coordinate and its group on each axis.

A `Mesh` is a plain value that is passed to whoever needs it. Nothing in this library asks a global
for its rank, so the same code runs in one process, under torchrun, or in eight forked test ranks,
and a function's arguments say whether it knows about ranks at all. There is one axis so far, `dp`:
replicas of the model that see different parts of the batch.
"""

from dataclasses import dataclass, field

import torch
import torch.distributed as dist

from course_lib.config import Layout


@dataclass
class Traffic:
    """What a rank has handed to the collectives of one axis so far."""

    num_bytes: int = 0
    num_calls: int = 0


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of the mesh, as seen by this rank."""

    name: str
    """Its short name: dp."""
    size: int
    """Ranks along the axis."""
    rank: int
    """This rank's coordinate, 0 to size - 1."""
    group: dist.ProcessGroup | None
    """The process group of the axis; None in a single process, where there is no one to ask."""
    traffic: Traffic = field(default_factory=Traffic)
    """Counted by comm.py."""


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """All axes, and the device this rank computes on."""

    rank: int
    world_size: int
    device: torch.device
    dp: Axis

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Every axis of the mesh."""
        return (self.dp,)


def build_mesh(layout: Layout, device: torch.device | None = None) -> Mesh:
    """Return this rank's mesh: from the process group if there is one, else of one process.

    Args:
        layout: sizes asked for; `check_layout` gives the same errors earlier and with the batch.
        device: where this rank computes; the CPU if left out.

    Raises:
        ValueError: the layout does not have as many ranks as were started.
    """
    connected = dist.is_available() and dist.is_initialized()
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if connected else (0, 1)
    dp = world_size if layout.dp is None else layout.dp
    if dp != world_size:
        raise ValueError(
            f"dp({dp}) = {dp} ranks, but {world_size} were started: set dp to {world_size} or "
            "leave it out"
        )
    group = dist.group.WORLD if connected else None
    axis = Axis(name="dp", size=dp, rank=rank, group=group)
    return Mesh(rank=rank, world_size=world_size, device=device or torch.device("cpu"), dp=axis)
