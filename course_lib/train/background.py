"""A run that trains on this machine while a notebook goes on: started, waited for, looked at.

For demonstrations, where nobody wants to watch a queue; `experiment.start_run` sends the same run
to SLURM. It is a process of its own, so that the notebook's kernel stays free, and it is the usual
trainer, so that its folder has all that any run leaves. Every wait is bounded.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.config import RunConfig
from course_lib.layout import check_layout
from course_lib.places import runs_dir
from course_lib.runlog import create_run_dir, read_config, read_failures, read_metrics, read_result
from course_lib.train.corpus import prepare_data


@dataclass
class Background:
    """A run that trains beside this process, or has trained before."""

    run_dir: Path
    process: subprocess.Popen[bytes] | None = None
    """None for a run that was there already."""

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl so far."""
        return read_metrics(self.run_dir)

    def wait(self, limit_s: float) -> dict[str, Any]:
        """Wait until the run has ended; return its result.json.

        Raises:
            TimeoutError: it has not ended after `limit_s` seconds. It goes on.
            ValueError: it failed; the message says why.
        """
        if self.process is not None:
            try:
                self.process.wait(limit_s)
            except subprocess.TimeoutExpired:
                raise TimeoutError(
                    f"the training in {self.run_dir} is not through after {limit_s:g} s: it goes "
                    "on, so wait once more, or end it with .process.terminate()"
                ) from None
        result = read_result(self.run_dir)
        if result is None:
            failures = read_failures(self.run_dir)
            why = failures[0].get("error", "") if failures else f"see {self.run_dir / 'train.out'}"
            raise ValueError(f"the training in {self.run_dir} failed: {why}")
        return result


def train_in_background(run: RunConfig, *, ranks: int = 1) -> Background:
    """Start a run on this machine, or take one that has finished and is as good.

    Args:
        ranks: processes that train it.

    Raises:
        ValueError: there is no usable text, or the layout does not fit so many ranks.
    """
    done = finished_run(run)
    if done is not None:
        return Background(done)
    check_layout(run, ranks)
    prepare_data(run.data.corpus, run.model.vocab_size, val_fraction=run.data.val_fraction)
    run_dir = create_run_dir(run)
    with (run_dir / "train.out").open("wb") as out:
        process = subprocess.Popen(
            trainer_command(run_dir, ranks), stdout=out, stderr=subprocess.STDOUT
        )
    return Background(run_dir, process)


def trainer_command(run_dir: Path, ranks: int, *, max_restarts: int = 0) -> list[str]:
    """Return the command that trains a run folder on this machine, with torchrun if need be."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    launcher.append(f"--max-restarts={max_restarts}")
    alone = ranks == 1 and not max_restarts
    trainer = ["-m", "course_lib.train", str(run_dir)]
    return [sys.executable, *([] if alone else launcher), *trainer]


def finished_run(run: RunConfig) -> Path | None:
    """Return the folder of the latest finished run of this model and text, of as many steps."""
    found = []
    for path in runs_dir().glob("*/result.json"):
        try:
            config, result = read_config(path.parent), read_result(path.parent)
        except ValueError:
            continue  # of an earlier version of the course, or damaged
        same = (config.model, config.data) == (run.model, run.data)
        if same and result is not None and config.train.steps >= run.train.steps:
            found.append(path)
    return max(found, key=lambda path: path.stat().st_mtime).parent if found else None
