"""A whole run's recorded steps: every rank, on one clock.

    clock     all ranks add up loss and norm in every step, and none can have the sum before the
              last has given its part; where a trace says so all the same, its clock is corrected
    bubble    of a wait for a pipeline stage, what passed before the other had even sent; the rest
              is communication
    straggler the rank whose own work takes longest, while the others wait for it

Left out on purpose: clocks that drift within a few steps.
"""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from course_lib.config import RunConfig
from course_lib.profile.breakdown import RankProfile, StepTime, break_down
from course_lib.profile.events import read_trace

PATTERN = "rank*.pt.trace.json*"


@dataclass(kw_only=True)
class RunProfile:
    """The recorded steps of a run."""

    run_dir: Path
    ranks: list[RankProfile]
    """In the order of their numbers."""
    clock_offsets_ns: list[int]
    """What was added to each rank's times."""

    @property
    def steps(self) -> list[int]:
        """Numbers of the steps that every rank recorded."""
        numbers = [{step.number for step in rank.steps} for rank in self.ranks]
        return sorted(set.intersection(*numbers))

    def step(self, number: int) -> list[StepTime]:
        """Return a step of every rank."""
        return [next(s for s in rank.steps if s.number == number) for rank in self.ranks]

    @property
    def config(self) -> RunConfig | None:
        """What was run; None in a foreign trace."""
        about = self.ranks[0].about
        return RunConfig.from_json(json.dumps(about["run"])) if "run" in about else None

    def mean_ns(self, value: Callable[[StepTime], float], rank: int | None = None) -> float:
        """Return the median over steps of a number, averaged over the ranks, or of one rank."""
        ranks = self.ranks if rank is None else [self.ranks[rank]]
        return statistics.fmean(statistics.median(map(value, r.steps)) for r in ranks)

    @property
    def step_ns(self) -> float:
        """The usual length of a step: the median over steps and ranks."""
        return statistics.median(step.ns for rank in self.ranks for step in rank.steps)


def trace_files(run_dir: Path) -> list[Path]:
    """Return the traces of a run folder, or of a folder of traces, or the one file given.

    Raises:
        ValueError: there is none; the message says how to record one.
    """
    run_dir = Path(run_dir)
    if run_dir.is_file():
        return [run_dir]
    for folder in (run_dir / "profile", run_dir):
        found = sorted(folder.glob(PATTERN)) or sorted(folder.glob("*.pt.trace.json*"))
        if found:
            return found
    raise ValueError(
        f"{run_dir} has no traces: record some with --profile.steps 5:8 on workshop submit or train"
    )


def profile_run(run_dir: Path, progress: Callable[[str], None] = lambda text: None) -> RunProfile:
    """Read and analyse the traces of a run.

    Args:
        run_dir: a run folder, a folder of traces, or one trace.
        progress: told what is being read.

    Raises:
        ValueError: there is no trace, or one is damaged.
    """
    ranks = []
    for path in trace_files(run_dir):
        progress(f"reading {path.name}")
        ranks.append(break_down(read_trace(path)))
    ranks.sort(key=lambda rank: rank.rank)
    offsets = _clock_offsets(ranks)
    for rank, offset in zip(ranks, offsets, strict=True):
        if offset:
            _shift(rank, offset)
    run = RunProfile(run_dir=Path(run_dir), ranks=ranks, clock_offsets_ns=offsets)
    for number in run.steps:
        _split_bubbles(run, number)
    return run


def _clock_offsets(ranks: list[RankProfile]) -> list[int]:
    """Return what to add to each rank's times so that no effect comes before its cause."""
    first = _meetings(ranks[0])
    offsets = [0]
    for rank in ranks[1:]:
        mine = _meetings(rank)
        both = first.keys() & mine.keys()
        # How much later than the other's part one has the sum: never negative on one clock.
        ahead = min((mine[key][1] - first[key][0] for key in both), default=0)
        behind = min((first[key][1] - mine[key][0] for key in both), default=0)
        wrong = min(ahead, behind) < 0
        offsets.append((behind - ahead) // 2 if wrong else 0)
    return offsets


def _meetings(rank: RankProfile) -> dict[tuple[int, int], tuple[int, int]]:
    """Return by step and count: when this rank gave its part to all, and when it had the sum."""
    found = {}
    for step in rank.steps:
        gave = [m.start for m in step.messages if m.axis == "world"]
        had = [r.stop for r in step.regions if r.words[:1] == ("wait",) and r.words[2] == "world"]
        if len(gave) == len(had):
            pairs = enumerate(zip(gave, had, strict=True))
            found |= {(step.number, count): pair for count, pair in pairs}
    return found


def _shift(rank: RankProfile, by: int) -> None:
    for step in rank.steps:
        step.start += by
        step.stop += by
        step.network = step.network + by
        step.regions = [r._replace(start=r.start + by, stop=r.stop + by) for r in step.regions]
        step.messages = [m._replace(start=m.start + by, stop=m.stop + by) for m in step.messages]


def _split_bubbles(run: RunProfile, number: int) -> None:
    """Tell, on CPUs, waiting for a stage to finish its work from waiting for the network."""
    posted: dict[tuple[int, int, str], int] = {}
    for rank, step in zip(run.ranks, run.step(number), strict=True):
        members = _pipeline(rank)
        for message in step.messages if members else []:
            for address in message.what:
                peer, _, what = address.partition(":")
                posted[rank.rank, members[int(peer)], what] = message.start
    for rank, step in zip(run.ranks, run.step(number), strict=True):
        members = _pipeline(rank)
        for region in step.regions if members else []:
            if region.words[:3] != ("wait", "receive", "pp"):
                continue
            peer, _, what = region.words[3].partition(":")
            sent = posted.get((members[int(peer)], rank.rank, what), region.stop)
            network = region.stop - max(region.start, min(sent, region.stop))
            step.parts["bubble"] -= network
            step.parts["comm"] += network
            step.comm["pp"] = step.comm.get("pp", 0) + network


def _pipeline(rank: RankProfile) -> list[int]:
    """Return the ranks of a rank's pipeline, first stage first; empty if it has none."""
    axis = rank.about.get("axes", {}).get("pp", {})
    return axis.get("ranks", []) if axis.get("size", 1) > 1 and not rank.on_gpu else []
