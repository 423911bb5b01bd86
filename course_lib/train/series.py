"""Several short runs in one job: `torchrun -m course_lib.train.series RUN_DIR ... JOB_DIR`.

Settings are compared best under the same load, and a job for each would pay for its start each
time. So the same ranks train one run after the other; each leaves what a run leaves, but for a
receipt. JOB_DIR is the job's own folder, which names a run of the series. Lab 05 measures with it.
Left out on purpose: going on after a failure.
"""

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from course_lib.config import Layout
from course_lib.parallel.join import connected, set_threads
from course_lib.profile.memory import keep_freed_memory
from course_lib.runlog import read_config
from course_lib.train.loop import train_on
from course_lib.train.step import NotFinite
from course_lib.train.stopping import failures_recorded


def train_series(run_dirs: Sequence[Path], job_dir: Path) -> None:
    """Train runs one after the other, on the ranks torchrun started or in this process alone.

    Args:
        run_dirs: run folders, each with a config.json; their ranks are arranged in the same way.
        job_dir: where a failure is recorded.

    Raises:
        ValueError: a configuration fits neither the ranks nor the first run's arrangement.
    """
    runs = [read_config(run_dir) for run_dir in run_dirs]
    first = runs[0]
    with failures_recorded(job_dir, int(os.environ.get("RANK", "0"))):
        for run in runs[1:]:
            if _axes(run.layout) != _axes(first.layout):
                raise ValueError(
                    f"run {run.name} arranges its ranks in another way than {first.name}: a series "
                    "has one arrangement, dp, pp and tp; start another series for the other one"
                )
        set_threads()
        keep_freed_memory()
        config = first.train
        with connected(
            layout=first.layout,
            device=config.device,
            backend=config.backend,
            timeout_s=config.timeout_s,
        ) as mesh:
            for run_dir in run_dirs:
                train_on(mesh, run_dir)
                gc.collect()  # the next run needs the memory of this one


def _axes(layout: Layout) -> tuple[int | None, int, int]:
    return layout.dp, layout.pp, layout.tp


def main() -> None:
    """Read the folders and train; a user's mistake ends in one line."""
    *run_dirs, job_dir = map(Path, sys.argv[1:])
    try:
        train_series(run_dirs, job_dir)
    except (ValueError, NotFinite) as error:
        sys.exit(f"{error} (traceback: {job_dir / 'failed'})")


if __name__ == "__main__":
    main()
