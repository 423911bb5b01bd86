"""Turn a run into a job: the data first, then the submission.

Preparing data needs one process, a job holds many nodes: a job that tokenises its corpus while it
holds them wastes all but one. So the data is made here, on the login node, before SLURM hears of
the run. Labs and the command line both start runs through `start_run`.
"""

from collections.abc import Callable

from course_lib.config import RunConfig
from course_lib.slurm.client import Job, plan_submission, submit
from course_lib.slurm.site import Site, load_site


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
    shape = f"{nodes} node{'s' * (nodes > 1)} x {ntasks_per_node} rank{'s' * (ntasks_per_node > 1)}"
    progress(f"job {job.job_id} submitted: {shape}")
    progress(f"run folder: {job.run_dir}")
    return job
