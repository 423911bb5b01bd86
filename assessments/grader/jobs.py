"""Start workers, here or as jobs of the cluster, and hand on results as they come."""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from course_lib.runlog import write_text
from course_lib.slurm.client import SlurmError, run_command
from course_lib.slurm.notation import format_duration
from course_lib.slurm.script import queue_options
from course_lib.slurm.site import Site, load_site

ROOT = Path(__file__).resolve().parents[2]
POLL_S = 0.2
ASK_SLURM_S = 3.0
MEMORY_MIB = 3072
"""For a worker and its box, where the site does not say what a rank has."""


class Workers(Protocol):
    """Processes that take tasks from a folder."""

    def are_there(self) -> bool:
        """Tell whether any of them may still be at work."""
        ...

    def ended(self) -> str:
        """Say how they ended, as far as is known."""
        ...

    def stop(self) -> None:
        """End them, and what they have started."""
        ...


class LocalWorkers:
    """Workers on this machine."""

    def __init__(self, work: Path, number: int) -> None:
        self._log = work / "workers.log"
        argv = [sys.executable, "-P", "-m", "assessments.grader", str(work)]
        with self._log.open("wb") as log:
            self._processes = [
                subprocess.Popen(
                    argv,
                    cwd=ROOT,
                    env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
                for _ in range(number)
            ]

    def are_there(self) -> bool:
        return any(process.poll() is None for process in self._processes)

    def ended(self) -> str:
        codes = ", ".join(str(process.poll()) for process in self._processes)
        return f"exit codes {codes}; see {self._log}"

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class ClusterWorkers:
    """Workers as an array of jobs, as many as the site runs at a time."""

    def __init__(self, work: Path, number: int, site: Site) -> None:
        script = work / "grade.sh"
        write_text(script, array_script(site, work, number, python=sys.executable))
        self._job_id = int(run_command(["sbatch", "--parsable", str(script)]).split(";")[0])
        self._work = work
        self._asked_s, self._there = 0.0, True

    def are_there(self) -> bool:
        if time.monotonic() > self._asked_s + ASK_SLURM_S:
            self._asked_s = time.monotonic()
            # A job that SLURM has forgotten is an error for squeue, and an end for us.
            argv = ["squeue", "--noheader", "--format=%T", f"--jobs={self._job_id}"]
            try:
                self._there = bool(run_command(argv).strip())
            except SlurmError:
                self._there = False
        return self._there

    def ended(self) -> str:
        return f"array job {self._job_id}; see {self._work}/slurm-*.out"

    def stop(self) -> None:
        with contextlib.suppress(SlurmError):
            run_command(["scancel", str(self._job_id)])


def array_script(site: Site, work: Path, number: int, *, python: str) -> str:
    """Return the script of an array of jobs, each of them a worker on one CPU."""
    memory_mib = site.mem_per_rank_mib or MEMORY_MIB
    folder = str(work).replace('"', '\\"')
    directives = [
        "--job-name=grade",
        f"--array=0-{number - 1}",
        f'--chdir="{folder}"',
        "--output=slurm-%A_%a.out",
        *queue_options(site),
        "--ntasks=1",
        "--cpus-per-task=1",
        f"--mem={memory_mib}M",
        f"--time={format_duration(site.max_time_min * 60)}",
    ]
    lines = ["#!/bin/bash", *(f"#SBATCH {directive}" for directive in directives), ""]
    lines += [*site.prelude, *(f"export {k}={shlex.quote(v)}" for k, v in sorted(site.env.items()))]
    lines += [f"export PYTHONPATH={shlex.quote(str(ROOT))} OMP_NUM_THREADS=1"]
    worker = [site.python or python, "-P", "-m", "assessments.grader", str(work)]
    lines += [shlex.join(["exec", "srun", *site.srun_options, *worker])]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Result:
    """How grading a submission went."""

    student: str
    notebook: Path
    record: dict[str, Any]
    """As the worker wrote it: to_look_at and seconds, or failed."""


def results(work: Path, students: list[str], start: Callable[[], Workers]) -> Iterator[Result]:
    """Start workers and yield each result when it is there, in the order of their ends."""
    missing = set(students)
    workers = start()
    try:
        while missing:
            alive = workers.are_there()  # before looking: what they leave at their end is seen
            for student in sorted(missing):
                path = work / "done" / f"{student}.json"
                if path.exists():
                    missing.remove(student)
                    yield Result(student, path.with_suffix(".ipynb"), json.loads(path.read_text()))
            if missing and not alive:
                break
            time.sleep(POLL_S)
    finally:
        workers.stop()
    for student in sorted(missing):
        failed = f"its grader ended before it was done ({workers.ended()}): grade it again"
        yield Result(student, work / "done" / f"{student}.ipynb", {"failed": failed})


def start_workers(work: Path, number: int, *, on_cluster: bool) -> Workers:
    """Start workers for tasks that lie in `work`.

    Args:
        number: how many; on the cluster at most as many as its nodes have CPUs.
        on_cluster: as jobs of the site ($WORKSHOP_SITE, or the class cluster).
    """
    if not on_cluster:
        return LocalWorkers(work, number)
    site = load_site()
    return ClusterWorkers(work, min(number, site.max_nodes * site.cpus_per_node), site)
