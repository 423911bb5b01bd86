"""A run's profile as the advisor's rules ask for it, and what they answer.

advisor.py holds the rules. Left out on purpose: reading and breaking down traces (across.py).
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from course_lib.config import Layout, RunConfig
from course_lib.layout import micro_batches
from course_lib.plan.traffic import bytes_per_step
from course_lib.profile.across import RunProfile
from course_lib.profile.breakdown import Operator, RankProfile, Region, StepTime

WORTH_SAYING = 0.03
"""Smallest share of the step that a finding must promise."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that could be faster."""

    name: str
    """The bottleneck, as in config.BOTTLENECKS where one is of this kind."""
    evidence: str
    """What the trace shows."""
    change: str
    """What to do about it."""
    gain_ns: float
    """What a step would be shorter."""
    gain_percent: float
    """The same, of the step."""


@dataclass
class Case:
    """A profile, with what the rules ask of it more than once."""

    profile: RunProfile
    run: RunConfig
    layout: Layout
    """With all sizes known."""

    @property
    def step_ns(self) -> float:
        return self.profile.step_ns

    @property
    def ranks(self) -> list[RankProfile]:
        return self.profile.ranks

    @cached_property
    def micro_batches(self) -> int:
        return micro_batches(self.run, self.layout)

    @cached_property
    def dp_messages(self) -> tuple[float, float, float]:
        """Messages and bytes that a rank sends along dp in a step, and bytes that it has to."""
        messages = [
            [m.num_bytes for m in step.messages if m.axis == "dp" and m.num_bytes]
            for rank in self.ranks
            for step in rank.steps
        ]
        world_size = self.ranks[0].about["world_size"]
        needed = [bytes_per_step(self.run, world_size, rank.rank)["dp"] for rank in self.ranks]
        return (
            statistics.fmean(map(len, messages)),
            statistics.fmean(map(sum, messages)),
            statistics.fmean(needed),
        )

    def unrecorded_ns(self, ns: float) -> float:
        """Return how long work of a rank takes while nobody records it."""
        return ns / self.profile.slowed_by_recording

    @property
    def blocks(self) -> list[int]:
        """How many blocks each rank computes."""
        return [
            len({r.words[1] for r in rank.steps[0].regions if is_block(r.words)})
            for rank in self.ranks
        ]

    @cached_property
    def forward_ns_per_block(self) -> list[float]:
        """How long a block computes forwards on each rank, per step."""
        return [
            statistics.fmean(
                sum(r.ns for r in step.regions if is_block(r.words)) for step in rank.steps
            )
            / max(1, blocks)
            for rank, blocks in zip(self.ranks, self.blocks, strict=True)
        ]

    def mean(self, value: Callable[[StepTime], float]) -> float:
        """Return a number of the steps: the median over steps, averaged over the ranks."""
        return self.profile.mean_ns(value)

    def worst(self, value: Callable[[StepTime], float]) -> float:
        """Return the same of the rank where it is largest: all others wait for it."""
        return max(self.profile.mean_ns(value, rank) for rank in range(len(self.ranks)))

    def exposed_ns(self, axis: str) -> float:
        """Return how long messages along an axis keep a rank from working, per step."""
        return self.mean(lambda step: step.comm.get(axis, 0))

    def network_ns(self, axis: str) -> float:
        """Return the same without what they waited for a rank that was late."""
        return self.mean(lambda step: step.comm.get(axis, 0) - step.late.get(axis, 0))

    def dp_network_ns(self, count: float, num_bytes: float) -> float:
        """Return what so many all-reduces along dp cost, with so many bytes in all."""
        return count * self.reference("dp_alpha_s") + num_bytes * self.reference("dp_s_per_byte")

    def dp_sums_ns(self, count: float) -> float:
        """Return how long a backward pass and the sum of its gradients takes in so many messages.

        The ranks have tried that with some counts, on a part of the gradients if these are many.
        """
        if not self._dp_sums_fit:
            return 0.0
        scale = 1 / self.ranks[0].about["reference"]["dp_sums_share"]
        passes_ns, message_ns, last_ns = self._dp_sums_fit
        count = max(1.0, count / scale)
        return scale * (passes_ns + message_ns * count + last_ns / count)

    @cached_property
    def _dp_sums_fit(self) -> tuple[float, float, float] | None:
        """What was tried, as passes, plus so much a message, plus the last, which nothing hides.

        The best of many noisy times would promise too much. No cost of a message is below 0.
        """
        tried = [rank.about.get("reference", {}).get("dp_sums_s", {}) for rank in self.ranks]
        counts = np.array(sorted(map(int, tried[0])), dtype=float)
        if not len(counts):
            return None
        times_ns = [
            1e9 * statistics.fmean(times[str(int(count))] for times in tried) for count in counts
        ]
        columns = np.column_stack([np.ones_like(counts), counts, 1 / counts])
        fits = []
        for kept in ([0, 1, 2], [0, 1], [0, 2], [0]):
            found, *_ = np.linalg.lstsq(columns[:, kept], np.array(times_ns), rcond=None)
            costs = np.zeros(3)
            costs[kept] = found
            if costs[1] >= 0 and costs[2] >= 0:
                error = float(np.sum((columns @ costs - times_ns) ** 2))
                fits.append((error, tuple(costs.tolist())))
        return min(fits)[1]

    def reference(self, name: str) -> float:
        """Return a time that the ranks measured, in ns, averaged; 0 where there is none."""
        found = [rank.about.get("reference", {}).get(name, 0.0) for rank in self.ranks]
        return 1e9 * statistics.fmean(found)

    def per_step(self, wanted: Callable[[Operator], float]) -> float:
        """Return a sum over the operators, per step, averaged over the ranks."""
        return statistics.fmean(
            sum(map(wanted, rank.operators)) / len(rank.steps) for rank in self.ranks
        )

    def part_ns(self, suffix: str) -> float:
        """Return the time per step of a part of all layers, forwards and backwards.

        What `recompute` does again is not in it: it is no time of the part's own.
        """
        forward = self.mean(lambda step: sum(r.ns for r in step.regions if _is_part(r, suffix)))
        return forward + self.per_step(
            lambda row: (
                row.total_ns if row.phase == "backward" and row.layer.endswith(suffix) else 0
            )
        )

    def part_calls(self, suffix: str) -> float:
        """Return how often a part of a layer runs forwards, per step."""
        return self.mean(lambda step: sum(_is_part(r, suffix) for r in step.regions))

    def finding(self, name: str, gain_ns: float, evidence: str, change: str) -> Finding | None:
        """Return a finding, unless what it promises is not worth saying."""
        share = gain_ns / self.step_ns
        if share < WORTH_SAYING:
            return None
        return Finding(
            name=name, evidence=evidence, change=change, gain_ns=gain_ns, gain_percent=100 * share
        )

    @cached_property
    def fused_attention_calls(self) -> float:
        """How often fused attention is called forwards, per step."""
        return self.per_step(
            lambda row: (
                row.calls
                if row.name == "aten::scaled_dot_product_attention" and row.phase == "forward"
                else 0
            )
        )

    @cached_property
    def work_by_rank(self) -> list[float]:
        """How long each rank works in a step, waiting for nobody."""
        return [
            self.profile.mean_ns(lambda step: step.parts["compute"] + step.parts["optimizer"], rank)
            for rank in range(len(self.ranks))
        ]

    @cached_property
    def ranks_by_stage(self) -> list[list[int]]:
        """The places in `ranks` of each pipeline stage's."""
        stages: dict[int, list[int]] = {}
        for place, rank in enumerate(self.ranks):
            stages.setdefault(rank.about["axes"]["pp"]["rank"], []).append(place)
        return [stages[stage] for stage in sorted(stages)]


def is_block(words: tuple[str, ...]) -> bool:
    """Tell whether a region is that of a whole block."""
    return words[0] == "layer" and words[1].startswith("blocks.") and words[1].count(".") == 1


def _is_part(region: Region, suffix: str) -> bool:
    words = region.words
    if region.phase == "recompute":
        return False
    return words[0] == "layer" and (words[1].endswith(suffix) or words[1] == suffix[1:])


def in_ms(ns: float) -> str:
    """Write nanoseconds as milliseconds."""
    return f"{ns / 1e6:.1f} ms"
