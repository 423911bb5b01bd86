"""The receipt: what ran where and how it ended, left by rank 0 and sealed while the job runs.

    receipt.json -> SHA-256 -> name of a step that does nothing: srun --job-name=receipt-<digest>

SLURM notes every step in its accounting, with its name, and lets nobody change it; when a job is
over it takes no more steps. So a receipt that is edited later no longer fits the seal, and a new
seal cannot be had. (The job's comment would not do: its owner may rewrite it after the end.) What
no seal can prevent is a job that seals a lie while it runs; that is what graders recompute and
compare for (grade/receipts.py). A run that fails or is stopped leaves a receipt that says so.
"""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from course_lib.config import RunConfig
from course_lib.runlog import (
    config_digest,
    digest,
    error_line,
    host_name,
    job_id,
    read_metrics,
    usual_step_s,
    write_json,
)
from course_lib.slurm.client import SlurmError, own_user, run_command
from course_lib.train.stopping import Stopped

SEAL_TIMEOUT_S = 20.0
"""A silent controller must not hold the job's nodes; a seal takes well below a second."""


def seal(receipt: dict[str, Any]) -> str:
    """Return the name of the step that stands for a receipt."""
    return f"receipt-{digest(receipt)[:32]}"


@contextlib.contextmanager
def receipt_left(run_dir: Path, run: RunConfig, rank: int) -> Iterator[None]:
    """Leave receipt.json in the run folder, however the block ends; on rank 0 only."""
    if rank != 0:
        yield
        return
    start_s = time.time()
    cause = "finished"
    try:
        yield
    except Stopped as stopped:
        cause = f"stopped: {stopped}"
        raise
    except BaseException as error:
        cause = f"failed: {error_line(error)}"
        raise
    finally:
        receipt = _receipt(run_dir, run, cause, start_s)
        write_json(run_dir / "receipt.json", receipt)
        if receipt["job_id"] is not None:
            _seal_in_job(receipt)


def _receipt(run_dir: Path, run: RunConfig, cause: str, start_s: float) -> dict[str, Any]:
    records = read_metrics(run_dir)
    steps = [record for record in records if "loss" in record]
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    dp = run.layout.dp or ranks // (run.layout.pp * run.layout.tp)
    sent: dict[str, int] = {}
    for record in steps:
        for axis, num_bytes in record["bytes_by_axis"].items():
            sent[axis] = sent.get(axis, 0) + num_bytes
    return {
        "job_id": job_id(),
        "step_id": os.environ.get("SLURM_STEP_ID") if job_id() else None,
        "user": _user(),
        # Of a run that failed before its ranks met, only this rank's node is known.
        "nodes": _read(run_dir / "run_info.json").get("hosts", [host_name()]),
        "ranks": ranks,
        "layout": dataclasses.asdict(dataclasses.replace(run.layout, dp=dp or None)),
        "config_sha256": config_digest(run),
        "first_loss": _loss(steps[0]) if steps else None,
        "last_loss": _loss(steps[-1]) if steps else None,
        "held_out_loss": held_out_loss(records),
        "bytes_by_axis": sent,
        "step_s": usual_step_s(steps, run),
        "exit_cause": cause,
        # Of a run that was interrupted and came to its end all the same; 0: it was not.
        "resumed_from_step": _read(run_dir / "result.json").get("resumed_from_step", 0),
        "code": _read(run_dir / "git.json"),
        "start_s": start_s,
        "end_s": time.time(),
    }


def _user() -> str:
    try:
        return os.environ.get("SLURM_JOB_USER") or own_user()
    except KeyError:  # in a container the user need not have a name
        return str(os.getuid())


def _loss(record: dict[str, Any]) -> dict[str, Any]:
    return {"step": record["step"], "loss": record["loss"]}


def held_out_loss(records: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the last validation of a run's metrics, with its step; None if there was none."""
    found = [record for record in records if "val_loss" in record]
    return {"step": found[-1]["step"], "loss": found[-1]["val_loss"]} if found else None


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def _seal_in_job(receipt: dict[str, Any]) -> None:
    """Start the step that seals the receipt; that it can't be had is no failure of the training."""
    # What the step around us has been given (tasks, CPUs, ...) must not be asked for once more.
    inherited = [name for name in os.environ if name.startswith("SLURM") and name != "SLURM_CONF"]
    argv = ["env", *(f"--unset={name}" for name in inherited)]
    argv += f"srun --jobid={receipt['job_id']} --overlap --nodes=1 --ntasks=1".split()
    argv += ["--cpus-per-task=1", "--input=none", f"--job-name={seal(receipt)}", "true"]
    try:
        run_command(argv, timeout_s=SEAL_TIMEOUT_S)
    except SlurmError as error:
        print(f"the receipt could not be sealed, so graders will not accept it: {error}")
