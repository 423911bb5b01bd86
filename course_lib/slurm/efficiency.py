"""How much of what a job reserved did it use: CPU time and memory.

    CPU efficiency    = CPU time used / (CPUs reserved x elapsed time)
    memory efficiency = largest memory of one task x tasks on a node / memory reserved on a node

A job that reserves what it doesn't use keeps others waiting, and one that uses all of its memory is
about to be killed; both are seen here first. Memory is SLURM's sample every few seconds, so a short
peak is missed. Steps run one after the other, so the largest step counts for memory while their CPU
times add up; sacct has added them already in the job's own line.

Source: the fields of the manual page sacct(1).
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from course_lib.slurm.client import (
    accounting_available,
    own_user,
    run_command,
)
from course_lib.slurm.notation import (
    format_duration,
    format_size,
    parse_duration_s,
    parse_size_bytes,
)
from course_lib.slurm.reasons import explain_reason

SACCT_FIELDS = (
    "JobID,State,ExitCode,NNodes,ElapsedRaw,AllocCPUS,ReqMem,TotalCPU,MaxRSS,NTasks,NodeList,"
    "Reason,JobName"
)
SQUEUE_FORMAT = "%i|%T|%D|%M|%C|%m|%r|%j"


@dataclass(frozen=True)
class JobUse:
    """One job: what it reserved and what it used. None where nobody knows."""

    job_id: str
    name: str
    state: str
    nodes: int
    elapsed_s: float
    cpus: int
    cpu_used_s: float | None
    memory_asked_bytes: int | None
    """Over all nodes."""
    memory_used_bytes: int | None
    """The largest task's peak x tasks, over all nodes, of the largest step."""
    reason: str

    @property
    def cpu_efficiency(self) -> float | None:
        """CPU time used as a share of CPU time reserved (0 to 1)."""
        reserved_s = self.cpus * self.elapsed_s
        if self.cpu_used_s is None or reserved_s <= 0:
            return None
        return self.cpu_used_s / reserved_s

    @property
    def memory_efficiency(self) -> float | None:
        """Memory used as a share of memory asked for (0 to 1)."""
        if self.memory_used_bytes is None or not self.memory_asked_bytes:
            return None
        return self.memory_used_bytes / self.memory_asked_bytes


def parse_sacct(text: str) -> list[JobUse]:
    """Read `sacct -P -n -o SACCT_FIELDS`: a line for each job, then one for each of its steps."""
    jobs: list[JobUse] = []
    for line in text.splitlines():
        values: dict[str, str] = dict(
            zip(SACCT_FIELDS.split(","), line.split("|", 12), strict=True)
        )
        if "." not in values["JobID"]:
            jobs.append(_job_line(values))
        elif jobs and values["MaxRSS"]:
            # MaxRSS is one task's peak; the tasks of a step run at the same time.
            used = parse_size_bytes(values["MaxRSS"]) * int(values["NTasks"] or 1)
            largest = max(used, jobs[-1].memory_used_bytes or 0)
            jobs[-1] = dataclasses.replace(jobs[-1], memory_used_bytes=largest)
    return jobs


def _job_line(values: dict[str, str]) -> JobUse:
    running = values["State"] in ("RUNNING", "PENDING")
    return JobUse(
        job_id=values["JobID"],
        name=values["JobName"],
        state=values["State"].split()[0],
        nodes=int(values["NNodes"]),
        elapsed_s=float(values["ElapsedRaw"] or 0),
        cpus=int(values["AllocCPUS"] or 0),
        # The database hears of CPU time when a step ends.
        cpu_used_s=None if running else parse_duration_s(values["TotalCPU"] or "00:00"),
        memory_asked_bytes=_asked_bytes(values["ReqMem"], values),
        memory_used_bytes=None,
        reason=values["Reason"] if values["Reason"] != "None" else "",
    )


def _asked_bytes(text: str, values: dict[str, str]) -> int | None:
    """Read ReqMem: SLURM before 21.08 wrote it per node (500Mn) or per CPU (500Mc)."""
    if not text or text.endswith("?"):  # not known yet (accounting.py)
        return None
    size_bytes = parse_size_bytes(text)
    if text.endswith("n"):
        return size_bytes * int(values["NNodes"])
    if text.endswith("c"):
        return size_bytes * int(values["AllocCPUS"] or 0)
    return size_bytes


def parse_squeue(text: str) -> list[JobUse]:
    """Read `squeue -h -o SQUEUE_FORMAT`: all that is known without accounting."""
    jobs = []
    for line in text.splitlines():
        number, state, nodes, elapsed, cpus, _, reason, name = line.split("|", 7)
        jobs.append(
            JobUse(
                job_id=number,
                name=name,
                state=state,
                nodes=int(nodes),
                elapsed_s=parse_duration_s(elapsed) if ":" in elapsed else 0.0,
                cpus=int(cpus),
                cpu_used_s=None,
                memory_asked_bytes=None,
                memory_used_bytes=None,
                reason="" if reason == "None" and state != "PENDING" else reason,
            )
        )
    return jobs


@dataclass(frozen=True)
class JobList:
    """A user's jobs, newest first, and whether their use could be known."""

    jobs: list[JobUse]
    accounting: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with both efficiencies worked out."""
        jobs = [
            {
                **dataclasses.asdict(job),
                "cpu_efficiency": job.cpu_efficiency,
                "memory_efficiency": job.memory_efficiency,
            }
            for job in self.jobs
        ]
        return {"accounting": self.accounting, "jobs": jobs}


def list_jobs(*, days: int = 1, limit: int = 20) -> JobList:
    """Ask SLURM for the user's jobs of the last `days`, at most `limit` of them, newest first.

    Raises:
        SlurmError: SLURM doesn't answer.
    """
    user = own_user()
    queued = parse_squeue(
        run_command(["squeue", "-h", "-u", user, "-t", "all", "-o", SQUEUE_FORMAT])
    )
    if not accounting_available():
        return JobList(_newest(queued, limit), accounting=False)
    argv = ["sacct", "-P", "-n", "-u", user, "-S", f"now-{days}days", "-o", SACCT_FIELDS]
    recorded = parse_sacct(run_command(argv))
    # The queue knows the present state and reason; the database follows some seconds behind.
    now = {job.job_id: job for job in queued}
    jobs = [
        dataclasses.replace(
            job,
            state=now[job.job_id].state,
            reason=now[job.job_id].reason,
            elapsed_s=now[job.job_id].elapsed_s,
        )
        if job.job_id in now
        else job
        for job in recorded
    ]
    known = {job.job_id for job in jobs}
    jobs += [job for job in queued if job.job_id not in known]
    return JobList(_newest(jobs, limit), accounting=True)


def _newest(jobs: list[JobUse], limit: int) -> list[JobUse]:
    def number(job: JobUse) -> int:
        return int(job.job_id.split("_")[0].split("+")[0])  # 12_3: task of an array; 12+1: of a set

    return sorted(jobs, key=number, reverse=True)[:limit]


def jobs_table(listed: JobList) -> Table:
    """Draw the jobs as a table for a terminal."""
    table = Table(title="Your jobs, newest first", title_justify="left")
    for heading in ("job", "name", "state"):
        table.add_column(heading, no_wrap=True)
    for heading in ("nodes", "elapsed", "CPU used", "memory used"):
        table.add_column(heading, justify="right", no_wrap=True)
    for job in listed.jobs:
        table.add_row(
            job.job_id,
            job.name,
            job.state,
            str(job.nodes),
            format_duration(job.elapsed_s),
            _share(job.cpu_efficiency, f"of {job.cpus} CPU" + "s" * (job.cpus > 1)),
            _share(job.memory_efficiency, f"of {format_size(job.memory_asked_bytes or 0)}"),
        )
    # Below the table, as a sentence has no room beside it on a terminal of 80 columns.
    notes = [
        f"job {job.job_id} waits: {explain_reason(job.reason)}"
        for job in listed.jobs
        if job.state == "PENDING"
    ]
    if not listed.accounting:
        notes.append(
            "This cluster keeps no accounting: what jobs used is not known, and finished jobs are "
            "forgotten after some minutes."
        )
    table.caption, table.caption_justify = "\n".join(notes) or None, "left"
    return table


def _share(share: float | None, of: str) -> str:
    return "-" if share is None else f"{share:.0%} {of}"
