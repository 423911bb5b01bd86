"""What SLURM's accounting says of a job, its steps and its array: the witness to what a run claims.

A step is one `srun` in a job. Its record is written when it starts and when it ends, and no user
can change it afterwards. A job's comment is no such witness: its owner may rewrite it at any time
with `sacctmgr modify job` (tried with SLURM 22.05), so nothing is read from there. A submit line is
what its owner typed: it says what was asked for, and proves nothing.

Names, folders and command lines are the learner's own words and may hold anything, line ends and
made-up rows too. So sacct is told to end each field with a word drawn at random, which nobody can
have written before, and rows are told apart by counting fields. Source: the manual page sacct(1).
"""

import re
import secrets
from dataclasses import dataclass, field

from course_lib.slurm.client import SlurmError, accounting_available, run_command
from course_lib.slurm.notation import expand_nodes, parse_duration_s, parse_size_bytes

FIELDS: tuple[str, ...] = (
    *"JobIDRaw User State ExitCode Start End NodeList NTasks JobName WorkDir SubmitLine".split(),
    *"JobID Submit Reason TimelimitRaw ReqMem AllocCPUS ElapsedRaw TotalCPU MaxRSS".split(),
)


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One srun of a job."""

    name: str
    tasks: int
    nodes: tuple[str, ...]
    command: str
    """The whole srun line, as it was typed."""
    state: str = ""
    max_rss_bytes: int | None = None
    """The largest task's peak, by SLURM's samples; None if it took none."""


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """One job, or one task of an array; of one that was requeued, its last life."""

    job_id: int
    user: str
    state: str
    """SLURM's word: COMPLETED, FAILED, TIMEOUT, CANCELLED, RUNNING ..."""
    exit_code: str
    """Exit code and signal of the job script, as in 1:0."""
    start_s: float | None
    """Seconds since 1970 by SLURM's clock; None if it has not started."""
    end_s: float | None
    nodes: tuple[str, ...]
    work_dir: str
    steps: dict[str, StepRecord] = field(default_factory=dict)
    """By number; `batch` is the job script itself. Empty where accounting keeps no steps."""
    array_id: int | None = None
    """The array's job id, if this is one of its tasks; `job_id` is then the task's own."""
    task_id: int | None = None
    """Its number in the array; None while SLURM keeps the waiting tasks in one row."""
    submit_s: float | None = None
    submit_line: str = ""
    reason: str = ""
    """Why it last waited; empty for Priority and Resources, which accounting does not keep."""
    time_limit_s: float | None = None
    memory_asked_bytes: int | None = None
    """Over all nodes."""
    cpus: int = 0
    """CPUs that it held, over all nodes."""
    elapsed_s: float = 0.0
    cpu_used_s: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether all of it has arrived.

        For some seconds accounting may know a short job from its steps alone, as one that has
        ended, on the first of its nodes, and was sent from nowhere.
        """
        return bool(self.work_dir)

    @property
    def waited_s(self) -> float | None:
        """Seconds from submission to the start, or to the end of one that never started."""
        until = self.start_s if self.start_s is not None else self.end_s
        return None if until is None or self.submit_s is None else until - self.submit_s


def parse_records(text: str, end_of_field: str) -> list[JobRecord]:
    """Read `sacct -n -p --delimiter=end_of_field -o FIELDS`: a record for each job or task."""
    values = text.split(end_of_field)[:-1]
    rows: list[dict[str, str]] = [
        dict(zip(FIELDS, values[start : start + len(FIELDS)], strict=True))
        for start in range(0, len(values), len(FIELDS))
    ]
    records: list[JobRecord] = []
    for row in rows:
        _, _, step = row["JobIDRaw"].strip().partition(".")
        if not step:
            records.append(_job_record(row))
        elif records:
            records[-1].steps[step] = StepRecord(
                name=row["JobName"],
                tasks=int(row["NTasks"] or 0),
                nodes=tuple(expand_nodes(row["NodeList"])),
                command=row["SubmitLine"],
                state=_word(row["State"]),
                max_rss_bytes=parse_size_bytes(row["MaxRSS"]) if row["MaxRSS"] else None,
            )
    return records


def _job_record(row: dict[str, str]) -> JobRecord:
    array, _, task = row["JobID"].strip().partition("_")
    start_s, end_s = _time_s(row["Start"]), _time_s(row["End"])
    nodes = tuple(expand_nodes(row["NodeList"]))
    limit = row["TimelimitRaw"]
    return JobRecord(
        job_id=int(row["JobIDRaw"]),
        user=row["User"],
        state=_word(row["State"]),
        exit_code=row["ExitCode"],
        # Of a job that was cancelled in the queue, sacct gives the end as its start.
        start_s=start_s if nodes or start_s != end_s else None,
        end_s=end_s,
        nodes=nodes,
        work_dir=row["WorkDir"],
        array_id=int(array) if task else None,
        task_id=int(task) if task.isdecimal() else None,
        submit_s=_time_s(row["Submit"]),
        submit_line=row["SubmitLine"],
        reason=row["Reason"] if row["Reason"] != "None" else "",
        time_limit_s=float(limit) * 60 if limit.isdecimal() else None,
        memory_asked_bytes=_size_bytes(row["ReqMem"]),
        cpus=int(row["AllocCPUS"] or 0),
        elapsed_s=float(row["ElapsedRaw"] or 0),
        cpu_used_s=parse_duration_s(row["TotalCPU"]) if row["TotalCPU"] else 0.0,
    )


def parse_record(text: str, end_of_field: str) -> JobRecord | None:
    """Read the same of one job; None if it has no row."""
    records = parse_records(text, end_of_field)
    return records[-1] if records else None


def ask_records(job_id: int) -> list[JobRecord]:
    """Ask sacct for a job of any user, or for all tasks of an array; empty if it knows neither.

    Raises:
        SlurmError: SLURM doesn't answer, or this cluster keeps no accounting.
    """
    return _ask(job_id)


def _ask(job_id: int, *options: str) -> list[JobRecord]:
    if not accounting_available():
        raise SlurmError(
            "this cluster keeps no accounting, so nobody can say what a job was: start the class "
            "cluster without --no-accounting"
        )
    end_of_field = f"<{secrets.token_hex(8)}>"
    argv = ["sacct", "-a", "-n", "-p", f"--delimiter={end_of_field}", "-j", str(job_id), *options]
    text = run_command([*argv, "-o", ",".join(FIELDS)], environment={"SLURM_TIME_FORMAT": "%s"})
    return parse_records(text, end_of_field)


def ask_lives(job_id: int) -> list[JobRecord]:
    """Ask sacct for every start of a job of any user, the first one first, without steps.

    A job that loses its node is put back into the queue under its own number; without being asked
    for duplicates, sacct shows the last start only.

    Raises:
        SlurmError: as for `ask_records`.
    """
    return _ask(job_id, "-D", "-X")


def ask_record(job_id: int) -> JobRecord | None:
    """Ask sacct for a job of any user; None if accounting does not know it.

    Raises:
        SlurmError: SLURM doesn't answer, or this cluster keeps no accounting.
    """
    records = ask_records(job_id)
    return records[-1] if records else None


def _word(state: str) -> str:
    return state.split()[0] if state.strip() else ""  # "CANCELLED by 1000"


def _time_s(text: str) -> float | None:
    return float(text) if text.isdecimal() else None  # "Unknown", "None"


def _size_bytes(text: str) -> int | None:
    # Before 21.08: per node (500Mn) or per CPU (500Mc), which is no sum over the nodes. And of a
    # record that is not whole yet, 22.05 says `16?`.
    return parse_size_bytes(text) if re.fullmatch(r"[\d.]+[KMGT]?", text) else None
