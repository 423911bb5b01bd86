"""What names cost while nothing is recorded, what recording costs, and how fast a trace is read.

`python -m tests.benchmarks.profiling`. Bars: names under 1 % of a step; a trace of 1 GB in under
60 s and 4 GB of memory.
"""

import contextlib
import dataclasses
import io
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

from course_lib.config import Layout, ProfileConfig
from course_lib.parallel.launch import run_ranks
from course_lib.presets import nano
from course_lib.profile.across import profile_run
from course_lib.profile.events import read_trace
from course_lib.profile.regions import region
from course_lib.profile.trace import trace_path
from course_lib.runlog import create_run_dir, read_metrics
from course_lib.train.loop import train_on

STEPS, RECORDED, REPEATS = 32, range(10, 18), 3


def train(ranks: int, layout: Layout, root: Path) -> Path:
    config = dataclasses.replace(
        nano().train, steps=STEPS, warmup_steps=4, val_sequences=2, sample_tokens=0
    )
    profile = ProfileConfig(steps=f"{RECORDED[0]}:{RECORDED[-1]}")
    run = dataclasses.replace(nano(), layout=layout, train=config, profile=profile)
    run_dir = create_run_dir(run, root)
    with contextlib.redirect_stdout(io.StringIO()):
        run_ranks(train_on, ranks, run_dir, layout=layout, timeout_s=300)
    return run_dir


def unrecorded_region_s(count: int = 200_000) -> float:
    start_s = time.perf_counter()
    for number in range(count):
        with region("forward", number, "c0"):
            pass
    return (time.perf_counter() - start_s) / count


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="workshop-profiling-") as folder:
        os.environ["WORKSHOP_BASE"] = folder
        each_s = statistics.median(unrecorded_region_s() for _ in range(5))
        print(f"a region while nothing is recorded: {1e6 * each_s:.2f} us")
        for name, ranks, layout in (
            ("1 rank", 1, Layout()),
            ("dp2", 2, Layout()),
            ("tp2", 2, Layout(tp=2)),
            ("pp2", 2, Layout(pp=2)),
        ):
            quiet_s, recorded_s, regions = [], [], 0
            for _ in range(REPEATS):
                run_dir = train(ranks, layout, Path(folder))
                for record in read_metrics(run_dir):
                    step = record["step"]
                    if "loss" in record and step in RECORDED:
                        recorded_s.append(record["step_time_s"])
                    elif "loss" in record and step > 4 and step not in range(9, 20):
                        quiet_s.append(record["step_time_s"])
                regions = len(profile_run(run_dir).ranks[0].steps[0].regions)
            quiet, recorded = statistics.median(quiet_s), statistics.median(recorded_s)
            print(
                f"nano, {name:7} step {1e3 * quiet:6.1f} ms; {regions} names cost "
                f"{regions * each_s / quiet:.2%}; recorded {recorded / quiet - 1:+.0%}"
            )
        path = trace_path(run_dir, 0)
        start_s = time.perf_counter()
        sizes: list[int] = []
        trace = read_trace(path, sizes.append)
        took_s = time.perf_counter() - start_s
        peak_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(
            f"reading: {sizes[-1] / took_s / 1e6:.0f} MB/s, {len(trace) / took_s:,.0f} events/s; "
            f"1 GB would take {1e9 * took_s / sizes[-1]:.0f} s; memory {peak_bytes / 1e6:.0f} MB"
        )


if __name__ == "__main__":
    main()
