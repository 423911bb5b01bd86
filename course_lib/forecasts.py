"""Forecasts of runs on this machine, beside what the runs then took.

Whoever starts a run gets its forecast first, if `workshop calibrate` has measured this cluster:
a line, and forecast.json in the run folder. When the run has trained, its metrics have the usual
step and the bytes sent, and a step with its memory recorded (--profile.steps) has the peak. The
forecast is never made again afterwards: only one that was made before can be wrong.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.config import Layout, RunConfig
from course_lib.layout import check_layout
from course_lib.places import base_dir
from course_lib.plan.calibration import Calibration, read_calibration
from course_lib.plan.local import local_forecast
from course_lib.runlog import read_config, read_metrics, usual_step_s, write_json

FILE_NAME = "forecast.json"
BAND = 0.15
"""A forecast that is off by less is taken to be right."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A run that was foretold."""

    name: str
    run_dir: Path
    run: RunConfig
    ranks: int
    calibrated: str
    """When the calibration was made that the forecast comes from."""
    forecast_s: float
    measured_s: float | None
    """The usual step; None until there are enough steps."""
    forecast_bytes: dict[str, int]
    measured_bytes: dict[str, int] | None
    """Sent by rank 0 in a step, by axis."""
    forecast_peak_bytes: tuple[int, ...]
    measured_peak_bytes: tuple[int, ...] | None
    """By rank; None where no step's memory was recorded."""

    @property
    def error(self) -> float | None:
        """Forecast over measured step time, less 1: above 0 the run was faster than foretold."""
        return None if self.measured_s is None else self.forecast_s / self.measured_s - 1

    @property
    def bytes_equal(self) -> bool | None:
        """Whether rank 0 sent what was foretold, to the byte."""
        return None if self.measured_bytes is None else self.measured_bytes == self.forecast_bytes

    @property
    def memory_error(self) -> float | None:
        """Of the rank whose peak was foretold worst."""
        if self.measured_peak_bytes is None:
            return None
        pairs = zip(self.forecast_peak_bytes, self.measured_peak_bytes, strict=True)
        return max((foretold / real - 1 for foretold, real in pairs), key=abs)

    @property
    def kind(self) -> str:
        """How the ranks are arranged: one rank, data, pipeline, tensor or mixed."""
        return layout_kind(check_layout(self.run, self.ranks))

    def to_json(self) -> dict[str, Any]:
        """Return the comparison, for programs: seconds and bytes."""
        return {
            "name": self.name,
            "run_dir": str(self.run_dir),
            "ranks": self.ranks,
            "layout": self.words,
            "calibrated": self.calibrated,
            "forecast_s": self.forecast_s,
            "measured_s": self.measured_s,
            "error": self.error,
            "bytes_equal": self.bytes_equal,
            "forecast_peak_bytes": self.forecast_peak_bytes,
            "measured_peak_bytes": self.measured_peak_bytes,
            "memory_error": self.memory_error,
        }

    @property
    def words(self) -> str:
        """Say in short what kind of run it is."""
        return describe_run(self.run, self.ranks)


def write_forecast(
    run_dir: Path, run: RunConfig, world_size: int, *, nodes: int = 1, threads: int = 1
) -> str:
    """Foretell a run into its folder, and return a line that says so.

    Args:
        run_dir: the run folder.
        run: what is trained.
        world_size: number of ranks.
        nodes: that they are on.
        threads: that a rank computes with.

    Returns:
        A line for people: the forecast, why there is none, or nothing where no machine like this
        one was ever calibrated.
    """
    path = base_dir() / "calibration.json"
    if run.train.device == "cuda" or not path.is_file():
        return ""
    try:
        calibration = read_calibration(path)
        _check_place(calibration, nodes, threads, world_size)
        forecast = local_forecast(run, world_size, calibration)
    except ValueError as error:
        return f"no forecast: {error}"
    write_json(
        Path(run_dir) / FILE_NAME,
        {"ranks": world_size, "calibrated": calibration.date, **forecast.to_json()},
    )
    return forecast.describe()


def compare_runs(folders: Sequence[Path]) -> list[Comparison]:
    """Return every run of these folders that was foretold, the earliest first."""
    found = [folder for folder in folders if (folder / FILE_NAME).is_file()]
    found.sort(key=lambda folder: (folder / FILE_NAME).stat().st_mtime)
    return [compare_run(folder) for folder in found]


def compare_run(run_dir: Path) -> Comparison:
    """Read a run's forecast, and what it took.

    Raises:
        ValueError: the folder has no forecast, or a damaged one.
    """
    path = Path(run_dir) / FILE_NAME
    try:
        foretold = json.loads(path.read_text())
        ranks, step_s = int(foretold["ranks"]), float(foretold["step_s"])
        sent, peaks = foretold["bytes_by_axis"][0], tuple(foretold["peak_bytes"])
        calibrated = str(foretold["calibrated"])
    except (OSError, KeyError, TypeError, IndexError, ValueError) as error:
        raise ValueError(f"{path} is no forecast ({error}): delete it") from None
    run = read_config(run_dir)
    records = [record for record in read_metrics(run_dir) if "step_time_s" in record]
    return Comparison(
        name=run.name,
        run_dir=Path(run_dir),
        run=run,
        ranks=ranks,
        calibrated=calibrated,
        forecast_s=step_s,
        measured_s=usual_step_s(records, run),
        forecast_bytes=sent,
        measured_bytes=records[-1]["bytes_by_axis"] if records else None,
        forecast_peak_bytes=peaks,
        measured_peak_bytes=_recorded_peaks(Path(run_dir), ranks),
    )


def comparison_table(comparisons: Sequence[Comparison]) -> str:
    """Return the runs as a table, with the mean error."""
    lines = [
        f"{'run':34}{'layout':26}{'forecast':>10}{'measured':>10}{'error':>8}{'bytes':>9}"
        f"{'memory':>8}"
    ]
    for each in comparisons:
        measured = "-" if each.measured_s is None else _time(each.measured_s)
        error = "-" if each.error is None else f"{each.error:+.0%}"
        equal = {None: "-", True: "equal", False: "differ"}[each.bytes_equal]
        memory = "-" if each.memory_error is None else f"{each.memory_error:+.1%}"
        lines.append(
            f"{each.run_dir.name[:33]:34}{each.words[:25]:26}{_time(each.forecast_s):>10}"
            f"{measured:>10}{error:>8}{equal:>9}{memory:>8}"
        )
    errors = [abs(each.error) for each in comparisons if each.error is not None]
    if errors:
        lines.append(f"mean error of {len(errors)} runs: {sum(errors) / len(errors):.1%}")
    return "\n".join(lines)


def describe_run(run: RunConfig, world_size: int) -> str:
    """Say in short how a run is laid out, such as `dp2 pp2 zero 1 bf16 mb 4`."""
    layout = check_layout(run, world_size)
    sizes = (("dp", layout.dp), ("pp", layout.pp), ("tp", layout.tp))
    words = [f"{name}{size}" for name, size in sizes if size and size > 1] or ["1 rank"]
    words += [f"v{layout.virtual_stages}"] if layout.virtual_stages > 1 else []
    words += [layout.schedule] if layout.schedule in ("gpipe", "zb_h1") and layout.pp > 1 else []
    words += ["sp"] if layout.sp else []
    words += [f"zero {layout.zero}"] if layout.zero else []
    words += [f"recompute {layout.recompute}"] if layout.recompute != "none" else []
    words += [run.train.precision] if run.train.precision != "float32" else []
    return " ".join([*words, f"mb {run.train.micro_batch}"])


def layout_kind(layout: Layout) -> str:
    """Return one word for how ranks are arranged."""
    axes = {"data": layout.dp or 1, "pipeline": layout.pp, "tensor": layout.tp}
    used = [name for name, size in axes.items() if size > 1]
    return "one rank" if not used else used[0] if len(used) == 1 else "mixed"


def _check_place(calibration: Calibration, nodes: int, threads: int, ranks: int) -> None:
    if threads != calibration.threads_per_rank:
        raise ValueError(
            f"the calibration is of ranks with {calibration.threads_per_rank} thread(s), the "
            f"run's have {threads}: calibrate with as many ranks as the run has"
        )
    measured = len(set(calibration.hosts))
    if ranks > 1 and (nodes > 1) != (measured > 1):
        where = "between nodes" if measured > 1 else "inside one node"
        instead = f"--nodes {nodes}" if nodes > 1 else f"--ranks {ranks}"
        raise ValueError(
            f"the calibration was measured {where}, the run is not there: `workshop calibrate "
            f"{instead}`"
        )


def _recorded_peaks(run_dir: Path, ranks: int) -> tuple[int, ...] | None:
    from course_lib.profile.memory_profile import memory_path, read_memory

    if not all(memory_path(run_dir, rank).is_file() for rank in range(ranks)):
        return None
    return tuple(read_memory(run_dir, rank).peak_bytes for rank in range(ranks))


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"
