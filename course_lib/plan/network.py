"""How long collectives and sends take, by where their ranks are. No torch.

    all-reduce        alpha + 2 (n - 1) / n x bytes / bandwidth
    gather, scatter   alpha +   (n - 1) / n x bytes / bandwidth

(Thakur et al. 2005, "Optimization of Collective Communication Operations in MPICH"). Ranks count
tp first, then dp, then pp (parallel/mesh.py), so a node of G GPUs holds tp groups whole where
tp <= G, and of a dp group the G / tp neighbours; their rings leave the node through all cards of
these. Left out on purpose: switches that several nodes share.
"""

from dataclasses import dataclass

import numpy as np

from course_lib.plan.cases import Array, Cases
from course_lib.plan.constants import Constants
from course_lib.plan.hardware import Hardware


@dataclass(frozen=True, kw_only=True)
class Line:
    """The way between the ranks of an axis: alpha and bandwidth for every case."""

    ranks: Array
    """Along the axis."""
    latency_s: Array
    """Seconds of a message without content."""
    bytes_per_s: Array
    """Bandwidth, each direction."""

    def all_reduce(self, num_bytes: Array) -> Array:
        """Return the seconds of a sum over all ranks, known to all."""
        return self._ring(2, num_bytes)

    def gather(self, num_bytes: Array) -> Array:
        """Return the seconds of an all-gather or reduce-scatter of so many bytes in all."""
        return self._ring(1, num_bytes)

    def send(self, num_bytes: Array) -> Array:
        """Return the seconds of a send to the neighbour."""
        return np.where(self.ranks > 1, self.latency_s + num_bytes / self.bytes_per_s, 0.0)

    def _ring(self, times: int, num_bytes: Array) -> Array:
        sent = times * num_bytes * (self.ranks - 1) / self.ranks
        return np.where(self.ranks > 1, self.latency_s + sent / self.bytes_per_s, 0.0)


def lines(cases: Cases, hardware: Hardware, constants: Constants) -> dict[str, Line]:
    """Return the way between the ranks of tp, dp and pp."""
    gpus = hardware.gpus_per_node
    link = hardware.link_bytes_per_s * constants.link_share
    nic = hardware.nic_bytes_per_s * constants.nic_share

    def line(ranks: Array, stride: Array) -> Line:
        """Return a collective's way; neighbours are `stride` ranks apart."""
        inside = ranks * stride <= gpus
        beside = np.clip(gpus // stride, 1, ranks)  # GPUs of the group in a node
        return Line(
            ranks=ranks,
            latency_s=np.where(inside, hardware.link_latency_s, hardware.nic_latency_s),
            bytes_per_s=np.where(inside, link, np.minimum(link, nic * beside)),
        )

    inside = cases.num_gpus <= gpus
    p2p = np.where(inside, link, nic)
    latency_s = np.where(inside, hardware.link_latency_s, hardware.nic_latency_s)
    return {
        "tp": line(cases.tp, np.asarray(1)),
        "dp": line(cases.dp, cases.tp),
        "pp": Line(ranks=cases.pp, latency_s=latency_s, bytes_per_s=p2p),
    }
