"""`workshop calibrate`: measure here or in a job, then leave the file, a table and a figure.

The measuring itself is train/calibrate.py. Here it is started: on ranks of this process, or as a
job on the nodes of a cluster, with the same script as a training run but another program in it.
"""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from course_lib.config import Layout, RunConfig
from course_lib.layout import check_layout
from course_lib.places import base_dir
from course_lib.plan.calibration import Calibration, read_calibration, write_calibration
from course_lib.presets import tiny
from course_lib.slurm.client import Job, JobStatus, SlurmError, plan_submission, submit
from course_lib.slurm.notation import parse_time_limit_s
from course_lib.slurm.site import load_site
from course_lib.slurm.watch import end_report, follow, queue_line

HERE_LIMIT_S = 600.0
"""How long a calibration on this machine may take."""
WAIT_S = 120.0
"""How long a rank waits for the others in a job."""


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """Measure messages between ranks, matrix products and copies; write them for the planner."""

    ranks: int = 2
    """Processes here, if no nodes are named."""
    nodes: int = 0
    """Nodes to measure between, as a job; 0 measures here."""
    ntasks_per_node: int = 1
    """Ranks on each of those nodes."""
    dp: Annotated[int | None, tyro.conf.arg(name="layout.dp")] = None
    """Data-parallel ranks; left out, all that pp and tp leave over."""
    pp: Annotated[int, tyro.conf.arg(name="layout.pp")] = 1
    """Pipeline-parallel ranks."""
    tp: Annotated[int, tyro.conf.arg(name="layout.tp")] = 1
    """Tensor-parallel ranks."""
    max_mib: float = 64.0
    """Largest message, MiB; a slow link may want fewer."""
    time: str | None = None
    """Time limit of the job: whole minutes or HH:MM:SS; left out, the site's."""
    site: str | None = None
    """Site name or .toml file; left out, $WORKSHOP_SITE or the class cluster."""
    out: str | None = None
    """Folder for calibration.json and calibration.png; left out, the workshop's own."""


def calibrate(options: CalibrateOptions) -> int:
    """Measure, write calibration.json and calibration.png, print the table; return the exit code.

    Raises:
        ValueError: the layout, the size or the site does not allow it; nothing was started.
        SlurmError: SLURM is missing or silent, or the job failed.
    """
    run = carrier(options)
    from course_lib.train.calibrate import sizes_up_to

    sizes_bytes = sizes_up_to(options.max_mib)
    folder = Path(options.out).expanduser() if options.out else base_dir()
    if options.nodes:
        calibration = _in_a_job(run, options)
    else:
        calibration = _here(run, options.ranks, sizes_bytes)
    path = folder / "calibration.json"
    write_calibration(path, calibration)
    print(f"\n{calibration.describe()}\n\nwrote {path}")
    if calibration.collectives:
        from course_lib.plots import calibration_figure, png_bytes

        path.with_suffix(".png").write_bytes(png_bytes(calibration_figure(calibration)))
        print(f"wrote {path.with_suffix('.png')}")
    return 0


def carrier(options: CalibrateOptions) -> RunConfig:
    """Return a run that carries the layout to the ranks; its model fits, and is never built.

    Raises:
        ValueError: the axes do not multiply to the number of ranks.
    """
    ranks = options.nodes * options.ntasks_per_node if options.nodes else options.ranks
    layout = Layout(dp=options.dp, pp=options.pp, tp=options.tp)
    run = tiny()
    model = dataclasses.replace(
        run.model, num_layers=layout.pp, num_heads=layout.tp, d_model=layout.tp
    )
    train = dataclasses.replace(
        run.train, global_batch=ranks * run.train.micro_batch, timeout_s=WAIT_S
    )
    run = RunConfig(name="calibration", model=model, layout=layout, train=train)
    return dataclasses.replace(run, layout=check_layout(run, ranks))


def _here(run: RunConfig, ranks: int, sizes_bytes: tuple[int, ...]) -> Calibration:
    from course_lib.parallel.launch import run_ranks
    from course_lib.train.calibrate import measure

    # What ranks print is shown when all are done: this way it appears at once.
    screen = os.dup(1)
    try:
        return run_ranks(
            lambda mesh: measure(
                mesh,
                sizes_bytes=sizes_bytes,
                progress=lambda text: os.write(screen, f"{text}\n".encode()),
            ),
            ranks,
            layout=run.layout,
            timeout_s=HERE_LIMIT_S,
        )[0]
    finally:
        os.close(screen)


def _in_a_job(run: RunConfig, options: CalibrateOptions) -> Calibration:
    job = submit(
        plan_submission(
            run,
            site=load_site(options.site),
            nodes=options.nodes,
            ntasks_per_node=options.ntasks_per_node,
            time_limit_s=parse_time_limit_s(options.time) if options.time else None,
            program=("course_lib.train.calibrate", f"--max-mib={options.max_mib:g}"),
        )
    )
    print(f"job {job.job_id} submitted, run folder: {job.run_dir}", flush=True)
    try:
        status = _follow(job)
    except KeyboardInterrupt:
        raise SlurmError(
            f"stopped watching; job {job.job_id} goes on and will leave calibration.json in "
            f"{job.run_dir}. End it with: scancel {job.job_id}"
        ) from None
    if not status.succeeded:
        raise SlurmError(end_report(job, status))
    return read_calibration(job.run_dir / "calibration.json")


def _follow(job: Job) -> JobStatus:
    """Print where the job is and what it prints, until it has ended."""
    said, num_printed = "", 0
    for snapshot in follow(job):
        line = queue_line(snapshot.status)
        if line != said and not snapshot.status.ended:
            print(f"job {job.job_id} {line}", flush=True)
            said = line
        if job.output_path.is_file():
            # Whole lines only: the last one may still be growing.
            lines = job.output_path.read_text(errors="replace").split("\n")[:-1]
            print("".join(f"{line}\n" for line in lines[num_printed:]), end="", flush=True)
            num_printed = len(lines)
    return snapshot.status
