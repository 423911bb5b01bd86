"""Accounting's records made up for tests: a job of ada's that completed, unless told otherwise."""

from typing import Any

from course_lib.slurm.accounting import JobRecord, StepRecord

USER, GIVEN_OUT_S, SENT_S = "ada", 1000.0, 2000.0
"""Jobs count that were sent after the lab was given out."""


def job(job_id: int = 17, **changes: Any) -> JobRecord:
    """Return the record of a job that was sent, started a second later and ran for ten."""
    elapsed_s = changes.setdefault("elapsed_s", 10.0)
    submit_s = changes.setdefault("submit_s", SENT_S)
    start_s = changes.setdefault("start_s", submit_s + 1)
    ended = changes.get("state", "COMPLETED") not in ("RUNNING", "PENDING")
    changes.setdefault("end_s", start_s + elapsed_s if ended and start_s is not None else None)
    every: dict[str, Any] = {
        "user": USER,
        "state": "COMPLETED",
        "exit_code": "0:0",
        "nodes": ("node1",),
        "work_dir": "/made/up",
        "submit_line": "sbatch --parsable",
        "time_limit_s": 60.0,
        "memory_asked_bytes": 1000 * 2**20,
        "cpus": 1,
        "steps": {"batch": step("batch")},
    }
    return JobRecord(job_id=job_id, **every | changes)


def step(name: str = "bash", **changes: Any) -> StepRecord:
    """Return the record of a step with one task on node1."""
    every: dict[str, Any] = {
        "tasks": 1,
        "nodes": ("node1",),
        "command": f"srun {name}",
        "state": "COMPLETED",
    }
    return StepRecord(name=name, **every | changes)


def array(job_id: int = 20, tasks: int = 4, **changes: Any) -> list[JobRecord]:
    """Return the records of an array's tasks; SLURM gives each a job id of its own."""
    return [
        job(job_id + 1 + number, array_id=job_id, task_id=number, **changes)
        for number in range(tasks)
    ]
