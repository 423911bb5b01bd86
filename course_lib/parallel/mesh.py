"""Where a rank stands: its coordinate and its group on each axis.

A `Mesh` is a plain value that is passed to whoever needs it. Nothing in this library asks a global
for its rank, so the same code runs in one process, under torchrun, or in eight forked test ranks,
and a function's arguments say whether it knows about ranks at all. The order is Megatron's:

    rank = (pp rank x dp + dp rank) x tp + tp rank

so tp, which sends most and most often, gets neighbouring ranks, which torchrun starts on the same
node; pp, which sends least, gets those that are furthest apart (Narayanan et al. 2021,
arXiv:2104.04473, section 3).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import cast

import torch
import torch.distributed as dist
from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage]

from course_lib.config import Layout


@dataclass
class Traffic:
    """What a rank has sent along one axis so far; comm.py counts."""

    num_bytes: int = 0
    num_calls: int = 0


@dataclass
class Progress:
    """What comm.py needs in order to say who is missing when a message does not come."""

    store: Store | None = None
    """Where the ranks leave notes for each other."""
    timeout: timedelta | None = None
    """How long a message may take; None for the backend's own limit."""
    step: int = 0
    """The step being worked on; the training loop sets it."""
    reported: bool = False
    """Whether this rank has told the others where it is stuck."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of the mesh, as seen by this rank."""

    name: str
    """Its short name: dp, pp, tp; world for all ranks together."""
    size: int
    """Ranks along the axis."""
    rank: int
    """This rank's coordinate, 0 to size - 1."""
    group: dist.ProcessGroup | None
    """The process group of the axis; None where there is no one to talk to."""
    ranks: tuple[int, ...]
    """The members' global ranks, in the order of their coordinates."""
    traffic: Traffic = field(default_factory=Traffic)
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """All axes, and the device this rank computes on."""

    rank: int
    world_size: int
    device: torch.device
    dp: Axis
    pp: Axis
    tp: Axis
    world: Axis
    """All ranks: for what concerns the whole model, such as its gradient's norm."""
    ends: Axis
    """The first and the last pipeline stage, which both hold a tied token table."""
    progress: Progress

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Every axis on which traffic is counted."""
        return (self.dp, self.pp, self.tp, self.world)


def coordinates(rank: int, *, dp: int, tp: int) -> tuple[int, int, int]:
    """Return (dp rank, pp rank, tp rank) of a global rank."""
    return rank // tp % dp, rank // (tp * dp), rank % tp


def build_mesh(
    layout: Layout,
    device: torch.device | None = None,
    store: Store | None = None,
    timeout: timedelta | None = None,
) -> Mesh:
    """Return this rank's mesh: from the process group if there is one, else of one process.

    All ranks call this at the same time, as they form the groups together.

    Args:
        layout: sizes asked for; `check_layout` gives the same errors earlier and with the batch.
        device: where this rank computes; the CPU if left out.
        store: where ranks can leave notes; without it a missing rank cannot be named.
        timeout: how long a message may take; the backend's own limit if left out.

    Raises:
        ValueError: the layout does not have as many ranks as were started.
    """
    connected = dist.is_available() and dist.is_initialized()
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if connected else (0, 1)
    pp, tp = layout.pp, layout.tp
    dp = world_size // (pp * tp) if layout.dp is None else layout.dp
    if dp * pp * tp != world_size:
        raise ValueError(
            f"dp({dp}) x pp({pp}) x tp({tp}) = {dp * pp * tp} ranks, but {world_size} were "
            f"started: start {max(dp, 1) * pp * tp} ranks, or change an axis"
        )
    progress = Progress(store=store, timeout=timeout)
    mine = coordinates(rank, dp=dp, tp=tp)

    def axis(name: str, rank_on_axis: int, same: Callable[[tuple[int, int, int]], object]) -> Axis:
        """Form every group of the axis: the ranks for which `same` gives the same."""
        groups: dict[object, list[int]] = {}
        for other in range(world_size):
            key = same(coordinates(other, dp=dp, tp=tp))
            if key is not None:
                groups.setdefault(key, []).append(other)
        members = groups.get(same(mine), [rank])
        group = None
        if len(members) == world_size and connected:
            group = dist.group.WORLD
        else:
            for ranks in groups.values():
                if len(ranks) > 1:
                    # Every rank takes part in forming every group, also those it is not in.
                    formed = cast(dist.ProcessGroup, dist.new_group(ranks, timeout=timeout))
                    group = formed if rank in ranks else group
        return Axis(
            name=name,
            size=len(members),
            rank=rank_on_axis,
            group=group,
            ranks=tuple(members),
            progress=progress,
        )

    at_end = mine[1] in (0, pp - 1)
    along_pp = axis("pp", mine[1], lambda c: (c[0], c[2]))
    # The stages between hold no token table.
    ends = axis("ends", int(at_end and mine[1] > 0), lambda c: _end(c, pp))
    return Mesh(
        rank=rank,
        world_size=world_size,
        device=device or torch.device("cpu"),
        dp=axis("dp", mine[0], lambda c: (c[1], c[2])),
        pp=along_pp,
        tp=axis("tp", mine[2], lambda c: (c[0], c[1])),
        world=axis("world", rank, lambda c: True),
        # What the ends say to each other is the pipeline's traffic.
        ends=replace(ends, traffic=along_pp.traffic),
        progress=progress,
    )


def _end(coordinate: tuple[int, int, int], pp: int) -> object:
    return (coordinate[0], coordinate[2]) if coordinate[1] in (0, pp - 1) and pp > 1 else None


def first_ranks(mesh: Mesh, n: int, formed: dict[int, Axis]) -> Mesh | None:
    """Return the first n data-parallel ranks as a mesh of their own; None on the others.

    All ranks of `mesh` call this at the same time, as they form the group together.

    Args:
        mesh: all ranks, every one of them data-parallel.
        n: how many of them.
        formed: the groups that were formed before, by size; a new one is noted there.

    Raises:
        ValueError: there are not so many ranks.
    """
    if not 1 <= n <= mesh.dp.size == mesh.world_size:
        raise ValueError(f"{n} ranks, but there are 1 to {mesh.world_size} data-parallel ones")
    if n not in formed:
        group = mesh.dp.group if n == mesh.world_size else None
        if 1 < n < mesh.world_size:
            group = cast(
                dist.ProcessGroup,
                dist.new_group(list(range(n)), timeout=mesh.progress.timeout),
            )
        ranks = tuple(range(n))
        formed[n] = replace(mesh.dp, size=n, group=group, ranks=ranks, traffic=Traffic())
    if mesh.rank >= n:
        return None
    return replace(mesh, world_size=n, dp=formed[n], world=replace(formed[n], name="world"))


def describe_placement(mesh: Mesh, hosts: list[str]) -> str:
    """Say over which nodes the tp groups reach, and what to do when they cross a border.

    Args:
        mesh: any rank's.
        hosts: the node of every rank.
    """
    if mesh.tp.size == 1:
        return ""
    groups = [hosts[first : first + mesh.tp.size] for first in range(0, len(hosts), mesh.tp.size)]
    widest = max(len(set(group)) for group in groups)
    if widest == 1:
        return f"tp({mesh.tp.size}) stays inside a node"
    return (
        f"tp({mesh.tp.size}) reaches over {widest} nodes, so every layer waits for the network: "
        f"put a multiple of {mesh.tp.size} ranks on each node (--ntasks-per-node)"
    )
