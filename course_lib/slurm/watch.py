"""Follow a job from the queue to its end, and say why if it fails.

`follow` is the loop: it asks SLURM and reads metrics.jsonl, and yields what it saw until the job
has ended. `watch_job` shows that on a terminal; the notebooks show the same snapshots with
widgets.

A job may go back from running to waiting: when a node dies, or its time is nearly over, it is put
into the queue again, and the run goes on from its last checkpoint. So the end is only an end when
SLURM says so, and the progress bar may jump back.
"""

import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from course_lib import runlog
from course_lib.slurm.client import Job, JobStatus, SlurmError
from course_lib.slurm.postmortem import examine_job
from course_lib.slurm.reasons import explain_reason, never_starts

POLL_S = 1.0
WATCH_LIMIT_S = 24 * 3600.0
# A controller that restarts is away for some seconds; this many misses in a row are a failure.
MISSES_ALLOWED = 5
# A job that lost a node is NODE_FAIL for a moment before SLURM queues it again.
REQUEUE_GRACE_S = 6.0
PLAIN_EVERY_S = 10.0


@dataclass(frozen=True)
class Snapshot:
    """A job and its training at one moment."""

    status: JobStatus
    steps: int
    """Steps that the run will do."""
    step: int
    """Steps done; 0 before the first."""
    loss: float | None
    """Mean loss per token of the latest step, nats."""
    tokens_per_s: float | None
    """Mean over the latest ten steps, all ranks together."""
    records: tuple[dict[str, Any], ...]
    """All lines of metrics.jsonl."""
    failed_ranks: int
    """Ranks that have reported a failure since the job was started (last)."""
    earlier_attempts: int
    """Times that the ranks have begun before, in this start of the job or an earlier one."""
    saved_step: int | None
    """Step of the last checkpoint, from which a new start goes on."""


def take_snapshot(job: Job, status: JobStatus) -> Snapshot:
    """Read what the run has written so far."""
    records = runlog.read_metrics(job.run_dir)
    steps = [record for record in records if "loss" in record]
    failures = runlog.read_failures(job.run_dir)
    # An earlier start's failures lie there until the new start's first rank has set them aside.
    started_s = time.time() - status.elapsed_s - 1
    rates = [record["tokens_per_s"] for record in steps[-10:] if record.get("tokens_per_s")]
    return Snapshot(
        status=status,
        steps=runlog.read_config(job.run_dir).train.steps,
        step=steps[-1]["step"] if steps else 0,
        loss=steps[-1]["loss"] if steps else None,
        tokens_per_s=sum(rates) / len(rates) if rates else None,
        records=tuple(records),
        failed_ranks=sum(failure["time_s"] > started_s for failure in failures),
        earlier_attempts=sum(1 for _ in (job.run_dir / "earlier_attempts").glob("*")),
        saved_step=max(
            (int(path.name[5:]) for path in (job.run_dir / "checkpoints").glob("step_*")),
            default=None,
        ),
    )


def follow(
    job: Job, *, poll_s: float = POLL_S, limit_s: float = WATCH_LIMIT_S
) -> Iterator[Snapshot]:
    """Yield snapshots until the job has ended; the last one holds its end.

    Raises:
        TimeoutError: the job has not ended after `limit_s` seconds. It goes on.
        SlurmError: SLURM has stopped answering.
    """
    deadline = time.monotonic() + limit_s
    misses = 0
    grace_until: float | None = None
    while True:
        try:
            status = job.status()
            misses = 0
        except SlurmError:
            misses += 1
            if misses > MISSES_ALLOWED:
                raise
            time.sleep(poll_s)
            continue
        now = time.monotonic()
        if status.state in ("NODE_FAIL", "PREEMPTED"):
            grace_until = grace_until or now + REQUEUE_GRACE_S
        elif not status.ended:
            grace_until = None
        yield take_snapshot(job, status)
        if status.ended and (grace_until is None or now >= grace_until):
            return
        if now >= deadline:
            raise TimeoutError(
                f"job {job.job_id} is still {status.state} after {limit_s:.0f} s; it goes on "
                f"without you. Come back with: workshop watch {job.job_id}"
            )
        time.sleep(poll_s)


def queue_line(status: JobStatus) -> str:
    """Say in a line where the job is."""
    if status.waiting:
        again = f" for start number {status.restarts + 1}" if status.restarts else ""
        line = f"waiting{again}: {explain_reason(status.reason or 'None')}"
        if never_starts(status.reason):
            line += f". It will not start by itself: cancel it with scancel {status.job_id}"
        return line
    if status.state == "COMPLETING":  # a job that was requeued counts its next start already
        return f"ending on {status.nodes or 'its nodes'}"
    if status.running:
        again = f", start number {status.restarts + 1}" if status.restarts else ""
        return f"{status.state.lower()} on {status.nodes or 'its nodes'}{again}"
    return status.sentence()


def state_line(snapshot: Snapshot) -> str:
    """Say in a line where the job is, and whether it is about to fail."""
    line, status = queue_line(snapshot.status), snapshot.status
    if status.waiting and status.restarts:
        saved = snapshot.saved_step
        line += ". It will begin anew" if saved is None else f". It will go on from step {saved}"
    restarted = snapshot.earlier_attempts - status.restarts
    if status.running and restarted > 0:
        line += f". torchrun has started the ranks again ({restarted} so far)"
    if status.running and snapshot.failed_ranks:
        # A job can hang here: srun waits for tasks of a node that went away and came back.
        line += (
            f". Ranks have failed ({snapshot.failed_ranks} so far): torchrun starts them again "
            "(--max-restarts), or SLURM ends the job soon, within a minute if a node was lost. If "
            f"it stays like this, end it yourself: scancel {status.job_id}"
        )
    return line


def end_report(job: Job, status: JobStatus) -> str:
    """Say how the job ended: its result, or the rank that failed first and its last words."""
    lines = [status.sentence()]
    result = runlog.read_result(job.run_dir)
    if status.succeeded and result is not None:
        lines.append(
            f"held-out loss {result['val_loss_first']:.3f} -> {result['val_loss_last']:.3f} nats"
            f", {result['tokens_per_s']:,.0f} tokens/s"
        )
        if result.get("sample"):
            lines.append(f"the model writes:\n{textwrap.indent(result['sample'], '    ')}")
    elif status.succeeded:
        lines.append("but it left no result.json: did the training really run to its end?")
    else:
        # What SLURM ended on request needs no search for a guilty rank.
        if status.state not in ("CANCELLED", "TIMEOUT") and job.output_path.is_file():
            lines.append(examine_job(job.run_dir, job.output_path).text())
        snapshot = take_snapshot(job, status)
        if snapshot.step:
            saved = "none is saved"
            if snapshot.saved_step is not None:
                saved = f"the last one saved is step {snapshot.saved_step}"
            lines.append(f"it had done {snapshot.step} of {snapshot.steps} steps; {saved}")
    if job.output_path.is_file():
        lines.append(f"all output: {job.output_path}")
    lines.append(f"run folder: {job.run_dir}")
    return "\n".join(lines)


def watch_job(
    job: Job,
    *,
    console: Console | None = None,
    poll_s: float = POLL_S,
    limit_s: float = WATCH_LIMIT_S,
) -> int:
    """Show the job on the terminal until it has ended; return 0 only if it completed.

    Ctrl-C stops the watching, not the job (exit code 130). Where there is no terminal, plain lines
    are printed now and then.
    """
    console = console or Console()
    show = _show_bar if console.is_terminal else _show_plain
    try:
        status = show(job, console, follow(job, poll_s=poll_s, limit_s=limit_s))
    except KeyboardInterrupt:
        console.print(
            f"\nStopped watching; job {job.job_id} goes on. Come back with: workshop watch "
            f"{job.job_id}   End the job with: scancel {job.job_id}"
        )
        return 130
    report = end_report(job, status)
    console.print(report, markup=False, highlight=False, soft_wrap=True)
    return 0 if status.succeeded else 1


def _show_bar(job: Job, console: Console, snapshots: Iterator[Snapshot]) -> JobStatus:
    columns = (
        TextColumn("job {task.fields[job_id]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeElapsedColumn(),
    )
    said = ""
    with Progress(*columns, console=console, transient=False) as progress:
        bar = progress.add_task("train", total=None, job_id=job.job_id, numbers="")
        for snapshot in snapshots:
            line = state_line(snapshot)
            if line != said and not snapshot.status.ended:
                progress.console.print(escape(f"job {job.job_id} {line}"), highlight=False)
                said = line
            progress.update(
                bar,
                total=snapshot.steps,
                completed=snapshot.step,
                numbers=_numbers(snapshot),
            )
    return snapshot.status


def _show_plain(job: Job, console: Console, snapshots: Iterator[Snapshot]) -> JobStatus:
    said, said_s = "", float("-inf")
    for snapshot in snapshots:
        line = state_line(snapshot)
        if snapshot.step and snapshot.status.running:
            numbers = f"step {snapshot.step}/{snapshot.steps} {_numbers(snapshot)}"
        else:
            numbers = ""
        due = time.monotonic() - said_s >= PLAIN_EVERY_S
        if not snapshot.status.ended and (line != said or (numbers and due)):
            text = f"job {job.job_id} {line} {numbers}".rstrip()
            console.print(text, markup=False, highlight=False, soft_wrap=True)
            sys.stdout.flush()
            said, said_s = line, time.monotonic()
    return snapshot.status


def _numbers(snapshot: Snapshot) -> str:
    words = []
    if snapshot.loss is not None:
        words.append(f"loss {snapshot.loss:.3f}")
    if snapshot.tokens_per_s:
        words.append(f"{snapshot.tokens_per_s:,.0f} tokens/s")
    return "  ".join(words)
