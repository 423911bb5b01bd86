"""A run's profile as the few numbers that people ask for; report.py and page.py only show them.

    MFU            = FLOPs per token x tokens per second / (ranks x measured peak)
    own work       = step - communication - bubble: what a rank would do alone
    ideal bubble   = (p - 1) / (v m + p - 1) of the time, with p stages of v parts, m micro-batches

Times are milliseconds of one step, the mean over the recorded steps, so that the parts add up to
the step. An operator's or a layer's time is the mean of the ranks that have it: a layer of the
second stage is not half as long because the first stage does without. Lab 05 reads these numbers.
Left out on purpose: advice (advisor.py).
"""

import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from course_lib.layout import check_layout, micro_batches
from course_lib.plan.counts import flops_per_token
from course_lib.profile.across import RunProfile
from course_lib.profile.breakdown import RankProfile

COLOURS = {
    "compute": "#0072B2",
    "optimizer": "#CC79A7",
    "comm": "#D55E00",
    "bubble": "#999999",
    "data": "#E69F00",
    "checkpoint": "#56B4E9",
    "validate": "#F0E442",
    "idle": "#FFFFFF",
}
"""Of the categories, in the order in which they are stacked; Okabe and Ito's (2008)."""
HATCHED = ("comm", "bubble")
"""Categories in which a rank waits: told from work by more than their colour."""
STRAGGLES = 0.1
"""A rank that works so much longer than its peers is named."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class RankRow:
    """Where a rank's time went, in ms of one step."""

    rank: int
    host: str
    step_ms: float
    parts_ms: dict[str, float]
    """By category; they add up to the step."""
    comm_ms: dict[str, float]
    """Exposed communication by axis; adds up to parts_ms["comm"]."""
    overlapped_ms: dict[str, float]
    """Communication by axis while something was computed; in no sum."""
    own_work_ms: float
    gaps_ms: float
    """Inside compute, time in which no operator ran."""
    operators_per_step: float
    syncs_per_step: float


@dataclass(frozen=True, kw_only=True)
class OperatorRow:
    """An operator in one phase of one layer, on a rank that has it."""

    name: str
    phase: str
    layer: str
    calls_per_step: float
    own_ms: float
    """Without the operators that it called."""


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """A layer's operators, on a rank that has it; the empty name: outside all layers."""

    layer: str
    forward_ms: float
    backward_ms: float
    """Both halves, where backward is split."""
    recompute_ms: float
    comm_ms: float
    """Operators that post messages or wait for them."""
    other_ms: float

    @property
    def total_ms(self) -> float:
        return self.forward_ms + self.backward_ms + self.recompute_ms + self.comm_ms + self.other_ms


@dataclass(frozen=True, kw_only=True)
class GemmRow:
    """Matrix products of one shape, (batch, m, k) x (k, n), on a rank that has them."""

    operator: str
    phase: str
    batch: int
    m: int
    n: int
    k: int
    dtype: str
    layers: tuple[str, ...]
    calls_per_step: float
    ms: float
    flops_per_s: float
    flops_per_byte: float
    peak_fraction: float | None
    """Of the measured peak; None where that is not known."""


@dataclass(frozen=True, kw_only=True)
class Straggler:
    """A rank, or a pipeline stage, that the others wait for."""

    who: str
    own_work_ms: float
    peers: str
    peers_ms: float

    @property
    def over_fraction(self) -> float:
        return self.own_work_ms / self.peers_ms - 1


@dataclass(frozen=True, kw_only=True)
class Bubble:
    """How long the pipeline's ranks wait for each other's work."""

    stages: int
    micro_batches: int
    parts: int
    """Parts of the model per stage (v)."""
    measured_fraction: float
    """Of the step, the mean over the ranks."""
    ideal_fraction: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A run's profile in numbers."""

    run: str
    run_dir: str
    layout: str
    num_ranks: int
    """Ranks whose traces were read."""
    world_size: int
    steps: list[int]
    step_ms: float
    """The median over steps and ranks, from which tokens per second and MFU follow."""
    step_ms_by_step: list[float]
    """Of each recorded step, the longest rank's."""
    tokens_per_s: float | None
    peak_flops_per_s: float | None
    """Of one rank, the mean."""
    copy_bytes_per_s: float | None
    mfu: float | None
    ranks: list[RankRow]
    operators: list[OperatorRow]
    """The longest first."""
    layers: list[LayerRow]
    """In the model's order."""
    gemms: list[GemmRow]
    """The longest first."""
    stragglers: list[Straggler]
    bubble: Bubble | None
    slowed_by_recording: float
    """How many times as long as the run's other steps the recorded ones took."""
    clock_offsets_ns: list[int]
    left_out: dict[str, int]
    """Events of all traces that could not be used, by reason."""

    @property
    def categories(self) -> list[str]:
        """The categories that took any time, in the order in which they are shown."""
        found = {name for row in self.ranks for name, ms in row.parts_ms.items() if ms >= 5e-4}
        return [name for name in COLOURS if name in found] + sorted(found - set(COLOURS))

    def mean_ms(self, category: str) -> float:
        """Return what a category took, the mean over the ranks."""
        return statistics.fmean(row.parts_ms.get(category, 0.0) for row in self.ranks)


def summarize(run: RunProfile) -> Summary:
    """Return a run's profile in numbers.

    Raises:
        ValueError: its traces have no step in common.
    """
    if not run.steps:
        raise ValueError(
            f"the traces of {run.run_dir} have no step in common: record the same --profile.steps "
            "on every rank"
        )
    config, world = run.config, _world_size(run)
    peaks = [float(rank.about["peak_flops"]) for rank in run.ranks if rank.about.get("peak_flops")]
    tokens_per_s = mfu = None
    if config is not None:
        tokens = config.train.global_batch * config.model.seq_len
        tokens_per_s = tokens / (run.step_ns / 1e9)
        if peaks:
            mfu = tokens_per_s * flops_per_token(config.model) / (world * statistics.fmean(peaks))
    ranks = [_rank_row(run, rank) for rank in run.ranks]
    left_out: dict[str, int] = defaultdict(int)
    for rank in run.ranks:
        for reason, count in rank.left_out.items():
            left_out[reason] += count
    references = [rank.about.get("reference", {}) for rank in run.ranks]
    copies = [each["copy_bytes_per_s"] for each in references if "copy_bytes_per_s" in each]
    return Summary(
        run=run.run_dir.resolve().name,
        run_dir=str(run.run_dir),
        layout=_layout(run),
        num_ranks=len(run.ranks),
        world_size=world,
        steps=run.steps,
        step_ms=run.step_ns / 1e6,
        step_ms_by_step=[max(s.ns for s in run.step(number)) / 1e6 for number in run.steps],
        tokens_per_s=tokens_per_s,
        peak_flops_per_s=statistics.fmean(peaks) if peaks else None,
        copy_bytes_per_s=statistics.fmean(copies) if copies else None,
        mfu=mfu,
        ranks=ranks,
        operators=_operators(run),
        layers=_layers(run),
        gemms=_gemms(run, statistics.fmean(peaks) if peaks else None),
        stragglers=_stragglers(run, ranks),
        bubble=_bubble(run, ranks),
        slowed_by_recording=run.slowed_by_recording,
        clock_offsets_ns=run.clock_offsets_ns,
        left_out=dict(left_out),
    )


def per_step(
    run: RunProfile, values: Callable[[RankProfile], Iterable[tuple[Key, float]]]
) -> dict[Key, float]:
    """Add up by key and return what one step has, the mean of the ranks that have the key.

    Args:
        run: whose ranks.
        values: gives a rank's (key, value) of all its steps; keys may come more than once.
    """
    found: dict[Key, list[float]] = defaultdict(list)
    for rank in run.ranks:
        sums: dict[Key, float] = defaultdict(float)
        for key, value in values(rank):
            sums[key] += value
        for key, value in sums.items():
            found[key].append(value / len(rank.steps))
    return {key: statistics.fmean(each) for key, each in found.items()}


def _world_size(run: RunProfile) -> int:
    return int(run.ranks[0].about.get("world_size", len(run.ranks)))


def _layout(run: RunProfile) -> str:
    """Say in words how the ranks are arranged."""
    config = run.config
    if config is None:
        return "unknown: the trace says nothing of its run"
    layout = check_layout(config, _world_size(run))
    words = [f"dp {layout.dp} x pp {layout.pp} x tp {layout.tp}"]
    words += ["sequence parallel"] * layout.sp
    if layout.pp > 1:
        words.append(f"schedule {layout.schedule}")
    words += [f"ZeRO {layout.zero}"] * (layout.zero > 0)
    words += [f"recompute {layout.recompute}"] * (layout.recompute != "none")
    batch = f"{micro_batches(config, layout)} micro-batches of {config.train.micro_batch}"
    return ", ".join([*words, batch, config.train.precision])


def _rank_row(run: RunProfile, rank: RankProfile) -> RankRow:
    steps = [step for step in rank.steps if step.number in run.steps]

    def mean_ms(values: list[dict[str, int]]) -> dict[str, float]:
        names = dict.fromkeys(name for each in values for name in each)
        return {name: sum(v.get(name, 0) for v in values) / len(values) / 1e6 for name in names}

    parts = mean_ms([step.parts for step in steps])
    step_ms = statistics.fmean(step.ns for step in steps) / 1e6
    return RankRow(
        rank=rank.rank,
        host=rank.host,
        step_ms=step_ms,
        parts_ms=parts,
        comm_ms=mean_ms([step.comm for step in steps]),
        overlapped_ms=mean_ms([step.overlapped for step in steps]),
        own_work_ms=step_ms - parts.get("comm", 0.0) - parts.get("bubble", 0.0),
        gaps_ms=statistics.fmean(step.gaps_ns for step in steps) / 1e6,
        operators_per_step=statistics.fmean(step.operators for step in steps),
        syncs_per_step=statistics.fmean(step.syncs for step in steps),
    )


def _operators(run: RunProfile) -> list[OperatorRow]:
    own_ns = per_step(run, lambda r: (((o.name, o.phase, o.layer), o.own_ns) for o in r.operators))
    calls = per_step(run, lambda r: (((o.name, o.phase, o.layer), o.calls) for o in r.operators))
    rows = [
        OperatorRow(name=k[0], phase=k[1], layer=k[2], calls_per_step=calls[k], own_ms=ns / 1e6)
        for k, ns in own_ns.items()
    ]
    return sorted(rows, key=lambda row: -row.own_ms)


def _layers(run: RunProfile) -> list[LayerRow]:
    columns = {
        "forward": "forward",
        "backward": "backward",
        "weights": "backward",
        "recompute": "recompute",
        "comm": "comm",
        "wait": "comm",
    }
    ns = per_step(
        run,
        lambda r: (((o.layer, columns.get(o.phase, "other")), o.own_ns) for o in r.operators),
    )
    return [
        LayerRow(
            layer=layer,
            **{
                f"{column}_ms": ns.get((layer, column), 0.0) / 1e6
                for column in ("forward", "backward", "recompute", "comm", "other")
            },
        )
        for layer in _in_order(run, {layer for layer, _ in ns})
    ]


def _in_order(run: RunProfile, layers: set[str]) -> list[str]:
    """Return layers as a token meets them; what is in no layer comes last."""
    met: dict[str, int] = {}
    for rank in run.ranks:
        for region in rank.steps[0].regions:
            if region.words[0] == "layer":
                # A rank may have layers of several parts of the model: numbers tell their order.
                stem = re.split(r"\d", region.words[1])[0]
                met.setdefault(stem, len(met))

    def place(layer: str) -> tuple:
        numbers = [int(number) for number in re.findall(r"\d+", layer)]
        return not layer, met.get(re.split(r"\d", layer)[0], len(met)), numbers, layer

    return sorted(layers, key=place)


def _gemms(run: RunProfile, peak: float | None) -> list[GemmRow]:
    layers: dict[tuple, dict[str, None]] = defaultdict(dict)
    some = {}
    for rank in run.ranks:
        for gemm in rank.gemms:
            key = gemm[:1] + gemm[2:8]  # all but the layer
            layers[key][gemm.layer] = None
            some[key] = gemm
    ns = per_step(run, lambda r: ((g[:1] + g[2:8], g.ns) for g in r.gemms))
    calls = per_step(run, lambda r: ((g[:1] + g[2:8], g.calls) for g in r.gemms))
    rows = []
    for key, gemm in some.items():
        flops_per_s = gemm.flops * calls[key] / ns[key] * 1e9 if ns[key] else 0.0
        rows.append(
            GemmRow(
                **{name: getattr(gemm, name) for name in ("operator", "phase", "dtype")},
                **{name: getattr(gemm, name) for name in ("batch", "m", "n", "k")},
                layers=tuple(_in_order(run, set(layers[key]))),
                calls_per_step=calls[key],
                ms=ns[key] / 1e6,
                flops_per_s=flops_per_s,
                flops_per_byte=gemm.flops / max(gemm.num_bytes, 1),
                peak_fraction=flops_per_s / peak if peak else None,
            )
        )
    return sorted(rows, key=lambda row: -row.ms)


def _stragglers(run: RunProfile, ranks: list[RankRow]) -> list[Straggler]:
    """Name who works longer than those with the same share of the work, and the longest stage."""
    stages: dict[int, list[RankRow]] = defaultdict(list)
    for rank, row in zip(run.ranks, ranks, strict=True):
        stages[rank.about.get("axes", {}).get("pp", {}).get("rank", 0)].append(row)
    found = []
    for stage, rows in stages.items():
        for row in rows if len(rows) > 1 else []:
            peers_ms = statistics.fmean(r.own_work_ms for r in rows if r is not row)
            peers = f"the other ranks of stage {stage}" if len(stages) > 1 else "the other ranks"
            where = f" on {row.host}" if row.host else ""
            found.append(
                Straggler(
                    who=f"rank {row.rank}{where}",
                    own_work_ms=row.own_work_ms,
                    peers=peers,
                    peers_ms=peers_ms,
                )
            )
    means = {n: statistics.fmean(r.own_work_ms for r in rows) for n, rows in stages.items()}
    for stage, ms in means.items() if len(means) > 1 else []:
        peers_ms = statistics.fmean(other for n, other in means.items() if n != stage)
        found.append(
            Straggler(
                who=f"stage {stage}", own_work_ms=ms, peers="the other stages", peers_ms=peers_ms
            )
        )
    late = [each for each in found if each.peers_ms > 0 and each.over_fraction >= STRAGGLES]
    return sorted(late, key=lambda each: each.peers_ms - each.own_work_ms)


def _bubble(run: RunProfile, ranks: list[RankRow]) -> Bubble | None:
    config = run.config
    if config is None or config.layout.pp == 1:
        return None
    layout = check_layout(config, _world_size(run))
    stages, parts = layout.pp, layout.virtual_stages
    count = micro_batches(config, layout)
    measured = sum(r.parts_ms.get("bubble", 0.0) for r in ranks) / sum(r.step_ms for r in ranks)
    return Bubble(
        stages=stages,
        micro_batches=count,
        parts=parts,
        measured_fraction=measured,
        ideal_fraction=(stages - 1) / (parts * count + stages - 1),
    )
