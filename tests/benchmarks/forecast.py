"""Forecasts of this machine's own runs against the runs: step time, bytes sent, memory.

`python -m tests.benchmarks.forecast [--quick] [--out DIR]`. It starts a class cluster of four nodes
of its own, sets a link rate, calibrates, then trains nano and small in many layouts; and so for the
next rate. Each forecast is made when its run is submitted. Printed are forecast and measured step
time, whether rank 0 sent the bytes foretold, and the error of the peak of memory. Bars: 20 runs,
15 % mean error of the step time, bytes equal, memory within 5 %. Nothing else should run meanwhile.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from course_lib.calibration import CalibrateOptions, calibrate
from course_lib.config import Layout, ProfileConfig, RunConfig
from course_lib.experiment import start_series
from course_lib.forecasts import Comparison, compare_run, comparison_table, describe_run
from course_lib.plots import png_bytes
from course_lib.plots_plan import forecast_figure
from course_lib.presets import nano, small
from course_lib.slurm.watch import end_report, follow
from tests.benchmarks.cluster import workshop

NODES = 4
RATES = ("none", "1gbit", "100mbit")
STEPS = {"nano": 14, "small": 8}
BARS = {"runs": 20, "time": 0.15, "memory": 0.05}

Setting = tuple[str, Layout, dict[str, Any]]
"""Model, layout, and what else is set."""
NANO, SMALL = "nano", "small"
PLAIN: dict[str, Any] = {}
RUNS: dict[str, dict[int, list[list[Setting]]]] = {
    "none": {
        1: [
            [
                (NANO, Layout(dp=1), PLAIN),
                (NANO, Layout(dp=1, recompute="full"), PLAIN),
                (NANO, Layout(dp=1), {"precision": "bf16"}),
                (NANO, Layout(dp=1), {"micro_batch": 8}),
            ],
            [(SMALL, Layout(dp=1), {"micro_batch": 2})],
        ],
        2: [
            [
                (NANO, Layout(dp=2), PLAIN),
                (NANO, Layout(dp=2, zero=1), PLAIN),
                (NANO, Layout(dp=2, zero=2), PLAIN),
                (NANO, Layout(dp=2, zero=3), PLAIN),
            ],
            [
                (SMALL, Layout(dp=2), PLAIN),
                (SMALL, Layout(dp=2, zero=1), {"precision": "bf16"}),
            ],
            [(NANO, Layout(dp=1, pp=2), PLAIN), (SMALL, Layout(dp=1, pp=2), {"micro_batch": 2})],
            [
                (NANO, Layout(dp=1, tp=2), PLAIN),
                (NANO, Layout(dp=1, tp=2, sp=True), PLAIN),
                (SMALL, Layout(dp=1, tp=2), PLAIN),
            ],
        ],
        4: [
            [(NANO, Layout(dp=4), PLAIN), (NANO, Layout(dp=4, zero=3), {"micro_batch": 4})],
            [(NANO, Layout(dp=1, pp=2, tp=2), PLAIN)],
            [(NANO, Layout(dp=1, pp=4), PLAIN)],
        ],
    },
    "1gbit": {
        2: [
            [(NANO, Layout(dp=2), PLAIN), (SMALL, Layout(dp=2), PLAIN)],
            [(NANO, Layout(dp=1, tp=2), PLAIN), (SMALL, Layout(dp=1, tp=2), PLAIN)],
        ],
        4: [
            [(NANO, Layout(dp=4), PLAIN), (NANO, Layout(dp=4, zero=1), PLAIN)],
            [(NANO, Layout(dp=2, pp=2), PLAIN)],
        ],
    },
    "100mbit": {
        2: [
            [(NANO, Layout(dp=2), PLAIN), (NANO, Layout(dp=2), {"precision": "bf16"})],
            [(NANO, Layout(dp=1, pp=2), PLAIN)],
            [(NANO, Layout(dp=1, tp=2), PLAIN)],
        ],
        4: [[(NANO, Layout(dp=4), PLAIN)]],
    },
}  # fmt: skip
"""By link rate and number of ranks: jobs, each with runs whose ranks are arranged alike."""


def planned(ranks: int, setting: Setting, *, with_memory: bool) -> RunConfig:
    name, layout, changes = setting
    base = nano() if name == NANO else small()
    batch = base.train.global_batch if name == NANO else 8
    steps = STEPS[name]
    train = dataclasses.replace(
        base.train,
        **{"steps": steps, "global_batch": batch, "warmup_steps": 2, "val_every": 100,
           "val_sequences": 2, "sample_tokens": 0, "log_every": 100, **changes},
    )  # fmt: skip
    # The last but one is recorded, and the last one's memory; a trace of small would need too much.
    recorded = f"{steps - 1}:{steps - 1}" if with_memory and name == NANO else None
    profile = ProfileConfig(steps=recorded)
    run = RunConfig(name=name, model=base.model, layout=layout, train=train, profile=profile)
    words = describe_run(run, ranks).replace(" ", "-")
    return dataclasses.replace(run, name=f"{name}-{words}")


def run_job(ranks: int, settings: list[Setting], rate: str) -> list[Comparison]:
    runs = {}
    for setting in settings:
        run = planned(ranks, setting, with_memory=rate == "none")
        runs[run.name] = run
    with contextlib.redirect_stdout(open(os.devnull, "w")):  # noqa: SIM115
        series = start_series(runs, nodes=ranks, time_limit_s=900)
    *_, last = follow(series.job)
    if not last.status.succeeded:
        print(end_report(series.job, last.status))
    return [compare_run(run_dir) for run_dir in series.run_dirs.values()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.forecast")
    parser.add_argument("--quick", action="store_true", help="unshaped links only")
    parser.add_argument("--rate", action="append", choices=RATES, help="these links only")
    parser.add_argument("--out", type=Path, help="folder for forecasts.png and forecasts.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="workshop-forecast-") as folder:
        os.environ.setdefault("WORKSHOP_BASE", folder)
        if "SLURM_CONF" not in os.environ:  # the same once more, on the login node
            if args.out:
                args.out.mkdir(parents=True, exist_ok=True)
            try:
                workshop("up", "--nodes", str(NODES), "--no-jupyter", "--no-accounting")
                inside = [sys.executable, "-u", "-m", "tests.benchmarks.forecast", *sys.argv[1:]]
                here = [sys.executable, "-m", "slurm_env", "shell", "-c", shlex.join(inside)]
                subprocess.run(here, check=True)
            finally:
                workshop("down")
            return
        measure(args.rate or (RATES[:1] if args.quick else RATES), args.out)


def measure(rates: tuple[str, ...] | list[str], out: Path | None) -> None:
    started_s = time.monotonic()
    rows: list[tuple[str, Comparison]] = []
    for rate in rates:
        for number in range(1, NODES + 1):
            workshop("link", f"node{number}", rate)
        begun_s = time.monotonic()
        log = Path(os.environ["WORKSHOP_BASE"]) / f"calibrate-{rate}.log"
        with open(log, "w") as text, contextlib.redirect_stdout(text):
            calibrate(CalibrateOptions(nodes=NODES, max_mib=1 if rate == "100mbit" else 4))
        print(f"links {rate}: calibrated in {time.monotonic() - begun_s:.0f} s", flush=True)
        for ranks, jobs in RUNS[rate].items():
            for settings in jobs:
                found = run_job(ranks, settings, rate)
                print(comparison_table(found), flush=True)
                rows += [(rate, each) for each in found]
        if out is not None:
            calibration = Path(os.environ["WORKSHOP_BASE"]) / "calibration.json"
            (out / f"calibration-{rate}.json").write_text(calibration.read_text())
    if out is not None:
        values = []
        for rate, each in rows:
            foretold = json.loads((each.run_dir / "forecast.json").read_text())
            run = json.loads(each.run.to_json())
            values.append({"link": rate, **each.to_json(), "parts_s": foretold["parts_s"],
                           "run": run})  # fmt: skip
        (out / "forecasts.json").write_text(json.dumps(values, indent=1))
        compared = [each for _, each in rows]
        (out / "forecasts.png").write_bytes(png_bytes(forecast_figure(compared)))
    print(verdict([each for _, each in rows]))
    print(f"{time.monotonic() - started_s:.0f} s in all")


def verdict(compared: list[Comparison]) -> str:
    errors = [abs(each.error) for each in compared if each.error is not None]
    memory = [abs(each.memory_error) for each in compared if each.memory_error is not None]
    mean, equal = sum(errors) / len(errors), sum(bool(each.bytes_equal) for each in compared)

    def line(what: str, bar: str, met: bool) -> str:
        return f"{what:52} bar {bar:16} {'met' if met else 'MISSED'}"

    return "\n".join(
        [
            line(f"runs: {len(errors)}", f"{BARS['runs']}", len(errors) >= BARS["runs"]),
            line(
                f"step time: {mean:.1%} mean error, worst {max(errors):.0%}",
                f"{BARS['time']:.0%}",
                mean <= BARS["time"],
            ),
            line(f"bytes: {equal} of {len(compared)} equal", "all", equal == len(compared)),
            line(
                f"memory: worst error {max(memory, default=0.0):.1%} of {len(memory)} runs",
                f"{BARS['memory']:.0%}",
                bool(memory) and max(memory) <= BARS["memory"],
            ),
        ]
    )


if __name__ == "__main__":
    main()
