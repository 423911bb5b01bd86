"""A whole run's recorded steps: every rank, on one clock.

    clock     all ranks add up loss and norm in every step, and none can have the sum before the
              last has given its part; where a trace says so all the same, its clock is corrected
    bubble    of a wait for a pipeline stage, what passed before the other had even sent, and of a
              wait for all stages, what passed before the last had come; the rest is communication
    late      of a wait along dp or tp, what passed before the last had come
    straggler the rank whose own work takes longest, while the others wait for it
    recording lengthens every operator by some microseconds: how much longer the recorded steps took
              than the run's others is told beside them

Left out on purpose: clocks that drift within a few steps.
"""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from course_lib.config import RunConfig
from course_lib.profile.breakdown import RankProfile, Region, StepTime, break_down
from course_lib.profile.events import read_trace
from course_lib.runlog import read_metrics

FIRST_STEPS = 2
"""Are slow for other reasons than recording."""
FEWEST_OTHERS = 3
"""Fewer steps that nobody recorded tell nothing."""


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

    @cached_property
    def slowed_by_recording(self) -> float:
        """How many times as long as the run's others the recorded steps took, by the run's clock.

        At least 1; also 1 where the run folder does not tell.
        """
        steps, recorded_s, others_s = set(self.steps), [], []
        for record in read_metrics(self.run_dir) if self.run_dir.is_dir() else ():
            number, seconds = record["step"], record.get("step_time_s")
            if seconds is None or number <= FIRST_STEPS:
                continue
            if number in steps:
                recorded_s.append(seconds)
            # Just before, the profiler warms up; just after, it frees what it has noted.
            elif not {number - 1, number + 1} & steps:
                others_s.append(seconds)
        if not recorded_s or len(others_s) < FEWEST_OTHERS:
            return 1.0
        return max(1.0, statistics.median(recorded_s) / statistics.median(others_s))


def find_traces(path: Path) -> list[Path]:
    """Return the traces of a run folder, or of a folder of traces, or the one file given."""
    if path.is_file():
        return [path]
    in_run, in_folder = (sorted(each.glob("*.pt.trace.json*")) for each in (path / "profile", path))
    return in_run or in_folder


def profile_run(run_dir: Path, progress: Callable[[str], None] = lambda text: None) -> RunProfile:
    """Read and analyse the traces of a run.

    Args:
        run_dir: a run folder, a folder of traces, or one trace.
        progress: told what is being read.

    Raises:
        ValueError: there is no trace, or one is damaged.
    """
    ranks = []
    paths = find_traces(Path(run_dir))
    if not paths:
        raise ValueError(
            f"{run_dir} has no traces: record some with --profile.steps 5:8 on workshop submit or "
            "train"
        )
    for path in paths:
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
        _note_late(run, number)
    return run


def _clock_offsets(ranks: list[RankProfile]) -> list[int]:
    """Return what to add to each rank's times so that no effect comes before its cause."""
    first = _all_met(ranks[0])
    offsets = [0]
    for rank in ranks[1:]:
        mine = _all_met(rank)
        both = first.keys() & mine.keys()
        # How much later than the other's part one has the sum: never negative on one clock.
        ahead = min((mine[key][1] - first[key][0] for key in both), default=0)
        behind = min((first[key][1] - mine[key][0] for key in both), default=0)
        wrong = min(ahead, behind) < 0
        offsets.append((behind - ahead) // 2 if wrong else 0)
    return offsets


def _all_met(rank: RankProfile) -> dict[tuple[int, int], tuple[int, int]]:
    """Return by step and count: when this rank gave its part to all, and when it had the sum."""
    return {
        (step.number, count): (gave, wait.stop)
        for step in rank.steps
        for count, (gave, wait) in enumerate(_meetings(step, "world"))
    }


def _meetings(step: StepTime, axis: str) -> list[tuple[int, Region]]:
    """Return of every message along an axis when it was posted, and the wait for it."""
    gave = [m.start for m in step.messages if m.axis == axis]
    waits = [r for r in step.regions if r.words[:1] == ("wait",) and r.words[2] == axis]
    return list(zip(gave, waits, strict=True)) if len(gave) == len(waits) else []


def _shift(rank: RankProfile, by: int) -> None:
    for step in rank.steps:
        step.start += by
        step.stop += by
        step.network = step.network + by
        step.regions = [r._replace(start=r.start + by, stop=r.stop + by) for r in step.regions]
        step.messages = [m._replace(start=m.start + by, stop=m.stop + by) for m in step.messages]


def _split_bubbles(run: RunProfile, number: int) -> None:
    """Tell, on CPUs, waiting for a stage to finish its work from waiting for the network."""
    steps = {r.rank: s for r, s in zip(run.ranks, run.step(number), strict=True) if _pipeline(r)}
    posted: dict[tuple[int, int, str], int] = {}
    for rank in run.ranks:
        members = _pipeline(rank)
        for message in steps[rank.rank].messages if members else []:
            for address in message.what:
                peer, _, what = address.partition(":")
                posted[rank.rank, members[int(peer)], what] = message.start
    for rank in run.ranks:
        members = _pipeline(rank)
        for region in steps[rank.rank].regions if members else []:
            if region.words[:3] != ("wait", "receive", "pp"):
                continue
            peer, _, what = region.words[3].partition(":")
            sent = posted.get((members[int(peer)], rank.rank, what), region.stop)
            _to_bubble(steps[rank.rank], "pp", -_waited_after(region, sent))
    # A stage that has drained waits where the stages next meet: the first is the last to come.
    for axis in ("world", "ends"):
        met = {other: _meetings(step, axis) for other, step in steps.items()}
        for rank in run.ranks:
            members = _pipeline(rank)
            others = members if axis == "world" else members[:1] + members[-1:]
            if rank.rank in others:
                _to_bubble(steps[rank.rank], axis, _waited_for(met, rank.rank, others))


def _note_late(run: RunProfile, number: int) -> None:
    """Note, on CPUs, how much of the waits along dp and tp is for a rank that is late."""
    steps = run.step(number)
    for axis in ("dp", "tp"):
        met = {r.rank: _meetings(s, axis) for r, s in zip(run.ranks, steps, strict=True)}
        for rank, step in zip(run.ranks, steps, strict=True):
            members = rank.about.get("axes", {}).get(axis, {}).get("ranks", [])
            if len(members) > 1 and not rank.on_gpu:
                step.late[axis] = _waited_for(met, rank.rank, members)


def _waited_for(met: dict[int, list[tuple[int, Region]]], rank: int, group: list[int]) -> int:
    """Return how long a rank waited for the last of a group to come, given each one's meetings."""
    of_group = [met[other] for other in group if other in met]
    if len({*map(len, of_group)}) != 1:
        return 0
    waited = 0
    for (_, wait), *all_met in zip(met[rank], *of_group, strict=True):
        waited += wait.ns - _waited_after(wait, max(gave for gave, _ in all_met))
    return waited


def _waited_after(region: Region, moment: int) -> int:
    return region.stop - max(region.start, min(moment, region.stop))


def _to_bubble(step: StepTime, axis: str, ns: int) -> None:
    """Call a part of what is communication along an axis bubble, or the other way round."""
    step.parts["bubble"] += ns
    step.parts["comm"] -= ns
    step.comm[axis] = step.comm.get(axis, 0) - ns


def _pipeline(rank: RankProfile) -> list[int]:
    """Return the ranks of a rank's pipeline, first stage first; empty if it has none."""
    axis = rank.about.get("axes", {}).get("pp", {})
    return axis.get("ranks", []) if axis.get("size", 1) > 1 and not rank.on_gpu else []
