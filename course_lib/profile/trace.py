"""Record some training steps on every rank: one trace per rank in RUN/profile/.

torch.profiler notes when each operation began and ended, on which thread or stream; the trainer's
regions (regions.py) say what for. One file per rank, rank0.pt.trace.json.gz and so on, that
TensorBoard's plugin, Perfetto and chrome://tracing read, and events.py. The step before the first
recorded one warms the profiler up. Lab 05 records with it. Left out on purpose: recording from the
start, when nothing runs at its usual speed.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._C._profiler import _ExperimentalConfig

from course_lib.config import ProfileConfig
from course_lib.profile.memory import keep_freed_memory
from course_lib.profile.regions import name_layers

# Kineto greets and takes leave on stderr otherwise; it reads this when torch is first profiled.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

LARGE_BYTES = 2**20
"""Blocks of which the heap is not to grow by while something is recorded."""


def trace_path(run_dir: Path, rank: int) -> Path:
    """Return where a rank's trace lies."""
    return Path(run_dir) / "profile" / f"rank{rank}.pt.trace.json.gz"


class Recorder:
    """Records the steps that were asked for; costs nothing before and after them."""

    def __init__(
        self,
        config: ProfileConfig,
        run_dir: Path,
        rank: int,
        device: torch.device,
        layers: dict[str, nn.Module],
        about: Callable[[], dict[str, Any]],
    ) -> None:
        """Prepare; nothing is recorded yet.

        Args:
            config: which steps.
            run_dir: the run folder.
            rank: this rank.
            device: its activities are recorded beside the CPU's.
            layers: by name, what gets a region of its own.
            about: returns what the trace should know of its run (JSON), kept under the key
                "workshop"; called just before the profiler warms up, on all ranks.
        """
        self._config, self._steps, self._layers = config, config.range, layers
        self._path, self._ask, self._about = trace_path(run_dir, rank), about, {}
        self._cuda = device.type == "cuda"
        self._profiler: torch.profiler.profile | None = None

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Record a step if it was asked for; it warms up in the step before the first."""
        if self._profiler is None and number in (self._steps.start - 1, self._steps.start):
            self._begin(number)
        yield
        if self._profiler is not None:
            last = number == self._steps[-1]
            if last:  # the profiler takes notes only while it records
                self._profiler.add_metadata_json("workshop", json.dumps(self._about))
            self._profiler.step()
            if last:
                self._end()

    def close(self) -> None:
        """Drop a recording that did not come to its last step."""
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None

    def _begin(self, number: int) -> None:
        self._about = self._ask()
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self._cuda:
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self._profiler = torch.profiler.profile(
            activities=activities,
            schedule=self._action,
            on_trace_ready=self._write,
            record_shapes=True,
            with_stack=self._config.stack,
            profile_memory=self._config.stack,
            experimental_config=_ExperimentalConfig(verbose=self._config.stack),
        )
        self._profiler.step_num = number  # so that the trace counts steps as we do
        self._profiler.current_action = self._action(number)
        self._handles = name_layers(self._layers)
        # What is kept for the shapes lies between the tensors, so that later ones no longer fit
        # into the gaps: in 6 steps of `small` the heap grew from 0.7 to 2.4 GiB.
        keep_freed_memory(below_bytes=LARGE_BYTES)
        self._profiler.start()

    def _action(self, step: int) -> torch.profiler.ProfilerAction:
        if step in self._steps:
            last = step == self._steps[-1]
            action = torch.profiler.ProfilerAction
            return action.RECORD_AND_SAVE if last else action.RECORD
        before = step == self._steps.start - 1
        return (
            torch.profiler.ProfilerAction.WARMUP if before else torch.profiler.ProfilerAction.NONE
        )

    def _end(self) -> None:
        assert self._profiler is not None
        self._profiler.stop()
        self._profiler = None
        keep_freed_memory()
        for handle in self._handles:
            handle.remove()

    def _write(self, profiler: torch.profiler.profile) -> None:
        self._path.parent.mkdir(exist_ok=True)
        # A name of this rank's own, as ranks on two nodes may have the same pid, and none that
        # TensorBoard would take for a trace.
        temporary = self._path.with_name(f".{self._path.name.split('.')[0]}.{os.getpid()}.json.gz")
        try:
            profiler.export_chrome_trace(str(temporary))
            os.replace(temporary, self._path)
        finally:
            temporary.unlink(missing_ok=True)
