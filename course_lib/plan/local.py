"""What a run will take on this very machine: seconds of a step, bytes sent, memory. No torch.

The trainer's step is written down as what each pipeline rank does, one thing after the other
(local_step.py), and played on a clock on which ranks share cores (tape.py), with times that
`workshop calibrate` measured here (local_costs.py). What a piece takes in a whole step, where
caches are colder and cores are shared, is told by rehearsals: steps that were really taken. All dp
and tp ranks of a stage do the same at the same time, so one of them stands for all. Bytes are
traffic.py's, memory is memory.py's.

    step = slowest rank until its gradients are summed + norm over all + update + overhead

Left out on purpose: GPUs (step_time.py), reading data, validation, checkpoints.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from course_lib.config import Layout, RunConfig
from course_lib.layout import check_layout
from course_lib.plan.calibration import Calibration
from course_lib.plan.local_costs import LocalCosts
from course_lib.plan.local_step import attention_shape, step_tape, update_tape
from course_lib.plan.memory import peak_bytes
from course_lib.plan.shares import buckets
from course_lib.plan.tape import Work, play
from course_lib.plan.traffic import bytes_per_step
from course_lib.presets import PRESETS

PARTS = ("compute", "recompute", "tp", "pp", "dp", "update", "overhead")
"""Where the seconds of a step go; pp is sending between stages and waiting for them."""


@dataclass(frozen=True, kw_only=True)
class LocalForecast:
    """What is foretold of a run."""

    parts_s: dict[str, float]
    """Seconds of a step by PARTS, on the rank that is done last."""
    bytes_by_axis: tuple[dict[str, int], ...]
    """Bytes that each rank sends in a step."""
    peak_bytes: tuple[int, ...]
    """Most bytes of tensors that each rank holds at once."""

    @property
    def step_s(self) -> float:
        """Seconds of a step: the sum of its parts."""
        return sum(self.parts_s.values())

    def describe(self) -> str:
        """Return the line that is printed when the run starts."""
        shown = ", ".join(
            f"{name} {_milliseconds(seconds)}"
            for name, seconds in self.parts_s.items()
            if seconds >= 0.005 * self.step_s
        )
        sent = max(sum(each.values()) for each in self.bytes_by_axis) / 1e6
        return (
            f"forecast: {_milliseconds(self.step_s)} a step ({shown}), {sent:.1f} MB sent by a "
            f"rank, {max(self.peak_bytes) / 2**20:.0f} MiB at most"
        )

    def to_json(self) -> dict[str, Any]:
        """Return all of it, for forecast.json."""
        return {
            "step_s": self.step_s,
            "parts_s": self.parts_s,
            "bytes_by_axis": list(self.bytes_by_axis),
            "peak_bytes": list(self.peak_bytes),
        }


def local_forecast(run: RunConfig, world_size: int, calibration: Calibration) -> LocalForecast:
    """Foretell a run on the machine and the links of a calibration.

    Args:
        run: what is trained, and how.
        world_size: number of ranks.
        calibration: of the machine and its links, with pieces of a step, on as many ranks or more.

    Raises:
        ValueError: the run does not fit on so many ranks, or the calibration does not reach so far.
    """
    layout = check_layout(run, world_size)
    costs = LocalCosts(calibration)
    if world_size > costs.ranks:
        raise ValueError(
            f"the calibration was measured on {costs.ranks} ranks, but the run has {world_size}: "
            f"measure on as many, with `workshop calibrate --ranks {world_size}` or --nodes"
        )
    costs.pace = _pace(run, layout, costs)
    tapes = [step_tape(run, layout, costs, stage) for stage in range(layout.pp)]
    assert layout.dp is not None
    twins = layout.dp * layout.tp

    def slowdown(busy: int) -> float:
        return costs.slowdown(busy * twins)

    played = play(tapes, slowdown, costs.bucket_s)
    parts = dict.fromkeys(PARTS, 0.0)
    # Of ranks that are done at the same moment, the one that had most to do.
    parts |= max(played, key=lambda each: (round(sum(each.values()), 6), each.get("compute", 0.0)))
    norm_s = 0.0
    if world_size > 1:
        norm_s = costs.between("all_reduce", world_size, 3 * 8, world_size)
    parts["overhead"] += costs.costs.step_s + norm_s
    updates = [update_tape(run, layout, costs, stage) for stage in range(layout.pp)]
    updated = play(updates, slowdown, costs.bucket_s)
    for part, seconds in max(updated, key=lambda each: sum(each.values())).items():
        parts[part] += seconds
    words: dict[str, Any] = {"widened": costs.costs.widened and run.train.precision == "bf16"}
    shape = attention_shape(run, layout)
    words["attention"] = costs.attention_core(run.train.precision, shape)
    return LocalForecast(
        parts_s=parts,
        bytes_by_axis=tuple(bytes_per_step(run, world_size, r) for r in range(world_size)),
        peak_bytes=tuple(peak_bytes(run, world_size, r, **words) for r in range(world_size)),
    )


def _pace(run: RunConfig, layout: Layout, costs: LocalCosts) -> dict[int, float]:
    """Return what rehearsals took over what their pieces sum up to, by number of ranks at once.

    Between the rehearsed models it goes by the logarithm of the numbers that a rank holds.
    """
    points: list[tuple[float, dict[int, float]]] = []
    for each in costs.costs.rehearsals:
        if each.precision != run.train.precision:
            continue
        preset = PRESETS[each.preset]()
        train = dataclasses.replace(
            preset.train,
            global_batch=each.micro_batch * each.micro_batches,
            micro_batch=each.micro_batch,
            precision=run.train.precision,
        )
        alone = Layout(dp=1)
        rehearsed = dataclasses.replace(preset, layout=alone, train=train)
        items = step_tape(rehearsed, alone, costs, 0) + update_tape(rehearsed, alone, costs, 0)
        worked_s = sum(item.seconds for item in items if isinstance(item, Work))
        factors = [seconds / (costs.costs.step_s + worked_s) for seconds in each.time_s]
        points.append(
            (math.log(_numbers(rehearsed, alone)), dict(zip(each.ranks, factors, strict=True)))
        )
    if not points:
        raise ValueError(
            f"the calibration has no rehearsal in {run.train.precision}: measure again with "
            "`workshop calibrate`"
        )
    points.sort(key=lambda point: point[0])
    at = math.log(_numbers(run, layout))
    places = [place for place, _ in points]
    return {
        count: float(np.interp(at, places, [pace[count] for _, pace in points]))
        for count in points[0][1]
    }


def _numbers(run: RunConfig, layout: Layout) -> int:
    """Return how many parameters the first rank computes with."""
    return sum(bucket.numel for bucket in buckets(run, layout, 0))


def _milliseconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
