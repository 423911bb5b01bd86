"""Turn a run into a job: the data first, then the submission.

Preparing data needs one process, a job holds many nodes: a job that tokenises its corpus while it
holds them wastes all but one. So the data is made here, on the login node, before SLURM hears of
the run. Labs and the command line both start runs through `start_run`; `start_series` makes several
short runs one job.
"""

import dataclasses
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.config import RunConfig
from course_lib.forecasts import write_forecast
from course_lib.places import runs_dir
from course_lib.runlog import create_run_dir
from course_lib.slurm.client import Job, plan_submission, submit
from course_lib.slurm.site import Site, load_site

THREADS = "OMP_NUM_THREADS"


def start_run(
    run: RunConfig,
    *,
    nodes: int,
    ntasks_per_node: int = 1,
    time_limit_s: int | None = None,
    max_restarts: int = 0,
    site: Site | None = None,
    options: tuple[str, ...] = (),
    progress: Callable[[str], object] = print,
) -> Job:
    """Prepare the run's data, submit the run, and return the job.

    Args:
        nodes: nodes to reserve.
        ntasks_per_node: ranks on each of them; nodes x ntasks_per_node is the world size.
        time_limit_s: seconds after which SLURM ends the job (default: the site's).
        max_restarts: how often the ranks are started again, from the last checkpoint, if one dies.
        site: the cluster (default: what WORKSHOP_SITE names, else the class cluster).
        options: further sbatch options, such as `--exclusive`.
        progress: called with a line of text now and then.

    Raises:
        ValueError: the run, the layout or the site does not allow it; nothing was submitted.
        SlurmError: SLURM is missing or does not answer.
    """
    submission = plan_submission(
        run,
        site=load_site() if site is None else site,
        nodes=nodes,
        ntasks_per_node=ntasks_per_node,
        time_limit_s=time_limit_s,
        max_restarts=max_restarts,
        options=options,
    )
    # The tokenizers library is slow to import, and a refused run should be refused at once.
    from course_lib.train.corpus import prepare_data

    prepare_data(
        run.data.corpus,
        run.model.vocab_size,
        val_fraction=run.data.val_fraction,
        progress=progress,
    )
    job = submit(submission)
    foretold = _foretell(job.run_dir, submission.run, submission.site, nodes, ntasks_per_node)
    shape = f"{nodes} node{'s' * (nodes > 1)} x {ntasks_per_node} rank{'s' * (ntasks_per_node > 1)}"
    progress(f"job {job.job_id} submitted: {shape}")
    progress(f"run folder: {job.run_dir}")
    if foretold:
        progress(foretold)
    return job


@dataclass(frozen=True)
class Series:
    """A job that trains several runs, one after the other."""

    job: Job
    run_dirs: dict[str, Path]
    """By the run's name, in their order."""


def start_series(
    runs: Mapping[str, RunConfig],
    *,
    nodes: int,
    ntasks_per_node: int = 1,
    time_limit_s: int | None = None,
    site: Site | None = None,
    progress: Callable[[str], object] = print,
) -> Series:
    """Prepare the runs' data, submit one job that trains them in turn, and return it.

    Args:
        runs: by name; their ranks are arranged in the same way.
        nodes, ntasks_per_node, time_limit_s, site, progress: as for `start_run`, for the whole job.

    Raises:
        ValueError: a run, its layout or the site does not allow it; nothing was submitted.
        SlurmError: SLURM is missing or does not answer.
    """
    site = load_site() if site is None else site
    request: dict[str, Any] = {"site": site, "nodes": nodes, "ntasks_per_node": ntasks_per_node}
    request["time_limit_s"] = time_limit_s
    # Each is checked, and gets what the site decides.
    planned = {name: plan_submission(run, **request).run for name, run in runs.items()}
    # The tokenizers library is slow to import, and a refused run should be refused at once.
    from course_lib.train.corpus import prepare_data

    for run in planned.values():
        prepare_data(
            run.data.corpus,
            run.model.vocab_size,
            val_fraction=run.data.val_fraction,
            progress=progress,
        )
    folder = runs_dir() / f"series-{secrets.token_hex(4)}"
    run_dirs = {name: create_run_dir(run, folder) for name, run in planned.items()}
    for name, run in planned.items():
        foretold = _foretell(run_dirs[name], run, site, nodes, ntasks_per_node)
        if foretold:
            progress(f"{name}: {foretold}")
    program = ("course_lib.train.series", *map(str, run_dirs.values()))
    first = dataclasses.replace(next(iter(planned.values())), name="series")
    job = submit(plan_submission(first, **request, program=program))
    progress(f"job {job.job_id} submitted: {len(runs)} runs, one after the other")
    return Series(job, run_dirs)


def _foretell(run_dir: Path, run: RunConfig, site: Site, nodes: int, ntasks_per_node: int) -> str:
    """Leave the run's forecast in its folder; return a line about it."""
    threads = int(site.env.get(THREADS, site.cpus_per_rank))
    return write_forecast(run_dir, run, nodes * ntasks_per_node, nodes=nodes, threads=threads)
