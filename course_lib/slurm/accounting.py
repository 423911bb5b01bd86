"""What SLURM's accounting says of one job and its steps: the witness to what a run claims.

A step is one `srun` in a job. Its record is written when it starts and when it ends, and no user
can change it afterwards. A job's comment is no such witness: its owner may rewrite it at any time
with `sacctmgr modify job` (tried with SLURM 22.05), so nothing is read from there.

Names, folders and command lines are the learner's own words and may hold anything, line ends and
made-up rows too. So sacct is told to end each field with a word drawn at random, which nobody can
have written before, and rows are told apart by counting fields. Source: the manual page sacct(1).
"""

import secrets
from dataclasses import dataclass, field

from course_lib.slurm.client import SlurmError, accounting_available, run_command
from course_lib.slurm.notation import expand_nodes

FIELDS = (
    "JobIDRaw,User,State,ExitCode,Start,End,NodeList,NTasks,JobName,WorkDir,SubmitLine"
).split(",")


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One srun of a job."""

    name: str
    tasks: int
    nodes: tuple[str, ...]
    command: str
    """The whole srun line, as it was typed."""


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """One job; of one that was requeued, its last life."""

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


def parse_record(text: str, end_of_field: str) -> JobRecord | None:
    """Read `sacct -n -p --delimiter=end_of_field -o FIELDS` of one job; None if it has no row."""
    values = text.split(end_of_field)[:-1]
    rows = [
        dict(zip(FIELDS, values[start : start + len(FIELDS)], strict=True))
        for start in range(0, len(values), len(FIELDS))
    ]
    record = None
    for row in rows:
        number, _, step = row["JobIDRaw"].strip().partition(".")
        nodes = tuple(expand_nodes(row["NodeList"]))
        if not step:
            record = JobRecord(
                job_id=int(number),
                user=row["User"],
                state=row["State"].split()[0],  # "CANCELLED by 1000"
                exit_code=row["ExitCode"],
                start_s=_time_s(row["Start"]),
                end_s=_time_s(row["End"]),
                nodes=nodes,
                work_dir=row["WorkDir"],
            )
        elif record is not None:
            record.steps[step] = StepRecord(
                name=row["JobName"],
                tasks=int(row["NTasks"] or 0),
                nodes=nodes,
                command=row["SubmitLine"],
            )
    return record


def ask_record(job_id: int) -> JobRecord | None:
    """Ask sacct for a job of any user; None if accounting does not know it.

    Raises:
        SlurmError: SLURM doesn't answer, or this cluster keeps no accounting.
    """
    if not accounting_available():
        raise SlurmError(
            "this cluster keeps no accounting, so nobody can say what a job was: start the class "
            "cluster without --no-accounting"
        )
    end_of_field = f"<{secrets.token_hex(8)}>"
    argv = ["sacct", "-a", "-n", "-p", f"--delimiter={end_of_field}", "-j", str(job_id)]
    text = run_command([*argv, "-o", ",".join(FIELDS)], environment={"SLURM_TIME_FORMAT": "%s"})
    return parse_record(text, end_of_field)


def _time_s(text: str) -> float | None:
    return float(text) if text.isdecimal() else None  # "Unknown", "None"
