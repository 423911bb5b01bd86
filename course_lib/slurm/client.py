"""Talk to SLURM through its own commands: submit, ask, cancel.

The commands are the ones a learner types (`sbatch`, `scontrol`, `sacct`, `sinfo`, `scancel`), each
with a limit on how long it may take and each failure turned into a sentence with a remedy. A `Job`
is a number and a folder; everything else is asked anew each time, because SLURM knows best.

Two sources tell a job's end. The controller is exact at once but forgets finished jobs after some
minutes (MinJobAge); the accounting database remembers but lags and may be missing. So the
controller is asked first. Left out on purpose: bindings to libslurm, and anything that parses
tables for people.
"""

import dataclasses
import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from course_lib import runlog
from course_lib.config import RunConfig
from course_lib.layout import check_layout
from course_lib.slurm.notation import format_duration, parse_duration_s
from course_lib.slurm.reasons import explain_refusal
from course_lib.slurm.script import SCRIPT_NAME, build_script
from course_lib.slurm.site import NO_CLUSTER, Site

COMMAND_TIMEOUT_S = 30.0
WAITING = (
    "PENDING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "SPECIAL_EXIT",
    "SUSPENDED",
    "RESIZING",
)
RUNNING = ("CONFIGURING", "RUNNING", "COMPLETING", "STOPPED", "SIGNALING", "STAGE_OUT")


class SlurmError(RuntimeError):
    """SLURM is missing, silent or broken: nothing that the learner's job did."""


class CommandFailed(SlurmError):
    """One of SLURM's commands ended with an error; `stderr` has its words."""

    def __init__(self, argv: list[str], stderr: str) -> None:
        super().__init__(f"{shlex.join(argv)}: {_last_line(stderr)}")
        self.stderr = stderr


class JobRefused(ValueError):
    """SLURM answered, and it doesn't want this job."""


@dataclass(frozen=True)
class JobStatus:
    """What SLURM says of a job at one moment."""

    job_id: int
    name: str
    state: str
    """SLURM's word: PENDING, RUNNING, COMPLETED, FAILED, TIMEOUT, NODE_FAIL, CANCELLED ..."""
    reason: str
    """Why it waits, or why it ended; empty when SLURM has nothing to say."""
    elapsed_s: float
    exit_code: int
    """What the job script returned."""
    exit_signal: int
    """The signal that ended the job script, or 0."""
    nodes: str
    """The nodes as SLURM writes them, e.g. node[1-2]; empty while it waits."""
    restarts: int
    """How often SLURM has started it again."""
    work_dir: Path | None
    """Where it runs: for the workshop's jobs the run folder."""

    @property
    def waiting(self) -> bool:
        return self.state in WAITING

    @property
    def running(self) -> bool:
        return self.state in RUNNING

    @property
    def ended(self) -> bool:
        return not self.waiting and not self.running

    @property
    def succeeded(self) -> bool:
        return self.state == "COMPLETED"

    def sentence(self) -> str:
        """Say how the job ended, in words."""
        words = {
            "COMPLETED": "completed",
            "FAILED": f"failed with exit code {self.exit_code}",
            "TIMEOUT": "was killed at its time limit: ask for more with --time",
            "CANCELLED": "was cancelled",
            "NODE_FAIL": "lost a node",
            "OUT_OF_MEMORY": "was killed because it used more memory than it reserved",
        }.get(self.state, f"ended as {self.state}")
        if self.state == "FAILED" and self.exit_signal:
            words = f"was ended by signal {self.exit_signal}"
        return f"job {self.job_id} {words} after {format_duration(self.elapsed_s)}"


@dataclass(frozen=True)
class Job:
    """A job in SLURM's hands and the run folder that it writes to."""

    job_id: int
    run_dir: Path

    def status(self) -> JobStatus:
        """Ask SLURM how the job is now.

        Raises:
            SlurmError: SLURM doesn't answer.
            ValueError: SLURM doesn't know the job.
        """
        return job_status(self.job_id)

    def cancel(self) -> None:
        """Take the job out of the queue, or end it if it runs."""
        run_command(["scancel", str(self.job_id)])

    @property
    def output_path(self) -> Path:
        """The file that the job's prints go to."""
        return self.run_dir / f"slurm-{self.job_id}.out"


def run_command(
    argv: list[str],
    *,
    timeout_s: float = COMMAND_TIMEOUT_S,
    environment: dict[str, str] | None = None,
    text: str | None = None,
) -> str:
    """Run one of SLURM's commands, with `environment` added to ours, and return what it printed.

    `text` is what it reads, as if piped into it: sbatch takes a script so.

    Raises:
        SlurmError: it isn't installed, has no answer within `timeout_s` seconds, or can't reach the
            controller.
        CommandFailed: it answered with an error; `stderr` has SLURM's words.
    """
    if NO_CLUSTER in os.environ:
        raise SlurmError(os.environ[NO_CLUSTER])
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            input=text,
            timeout=timeout_s,
            env=os.environ | (environment or {}),
        )
    except FileNotFoundError as error:
        raise SlurmError(
            f"no SLURM here: the command {argv[0]} is not on PATH. Start the class cluster with "
            "`workshop up`, or log in to a cluster that has SLURM."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(
            f"`{shlex.join(argv)}` had no answer after {timeout_s:.0f} s: SLURM is there, but "
            "silent. `workshop status` (class cluster) or `scontrol ping` says more."
        ) from error
    if done.returncode == 0:
        return done.stdout
    if any(words in done.stderr for words in ("configuration source", "cannot stat file")):
        raise SlurmError(
            "SLURM's commands are here, but no cluster belongs to them (no slurm.conf). Start the "
            f"class cluster with `workshop up`. {argv[0]} said: {_last_line(done.stderr)}"
        )
    if "Unable to contact slurm controller" in done.stderr or "Connection refused" in done.stderr:
        raise SlurmError(
            "SLURM's controller does not answer. On the class cluster: `workshop status`, then "
            "`workshop down` and `workshop up`; jobs and runs on disk are kept. "
            f"{argv[0]} said: {_last_line(done.stderr)}"
        )
    raise CommandFailed(argv, done.stderr)


def job_status(job_id: int) -> JobStatus:
    """Ask the controller for a job and, if it has forgotten it, the accounting database.

    Raises:
        SlurmError: SLURM doesn't answer.
        ValueError: neither knows the job.
    """
    try:
        return parse_show_job(run_command(["scontrol", "show", "job", str(job_id)]))
    except CommandFailed as error:
        if "Invalid job id" not in error.stderr:
            raise
    line = _sacct_line(job_id)
    if line is None:
        raise ValueError(
            f"SLURM knows no job {job_id}: `workshop jobs` lists yours. (Without accounting, SLURM "
            "forgets a job some minutes after its end; its run folder stays.)"
        )
    return parse_sacct_job(line)


def parse_show_job(text: str) -> JobStatus:
    """Read what `scontrol show job ID` prints (several lines of Key=value)."""

    def get(key: str) -> str:
        match = re.search(rf"(?:^|\s){key}=(\S*)", text)
        value = match[1] if match else ""
        return "" if value in ("(null)", "None") else value

    # A folder may have spaces, so this one is read to the end of its line.
    folder = re.search(r"^\s*WorkDir=(.*)$", text, flags=re.MULTILINE)
    code, _, signal = get("ExitCode").partition(":")
    # JobName comes first and may hold anything; the other keys are looked for after it.
    name = re.search(r"JobName=(.*)", text)
    return JobStatus(
        job_id=int(get("JobId")),
        name=name[1] if name else "",
        state=get("JobState"),
        reason=get("Reason"),
        elapsed_s=parse_duration_s(get("RunTime") or "00:00"),
        exit_code=int(code or 0),
        exit_signal=int(signal or 0),
        nodes=get("NodeList"),
        restarts=int(get("Restarts") or 0),
        work_dir=Path(folder[1]) if folder else None,
    )


_SACCT_FIELDS = "JobID,State,ExitCode,ElapsedRaw,NodeList,Reason,JobName,WorkDir"


def parse_sacct_job(line: str) -> JobStatus:
    """Read one line of `sacct -P -o` with the fields of `_SACCT_FIELDS`."""
    number, state, exit_code, elapsed, nodes, reason, name, folder = line.split("|", 7)
    code, _, signal = exit_code.partition(":")
    return JobStatus(
        job_id=int(number),
        name=name,
        state=state.split()[0],  # "CANCELLED by 1000"
        reason="" if reason == "None" else reason,
        elapsed_s=float(elapsed or 0),
        exit_code=int(code or 0),
        exit_signal=int(signal or 0),
        nodes="" if nodes == "None assigned" else nodes,
        restarts=0,  # SLURM 22.05's sacct has no such field
        work_dir=Path(folder) if folder else None,
    )


def accounting_available() -> bool:
    """Tell whether the cluster keeps accounting records that `sacct` can read."""
    text = run_command(["scontrol", "show", "config"])
    match = re.search(r"^AccountingStorageType\s*=\s*(\S+)", text, flags=re.MULTILINE)
    return match is not None and not match[1].endswith("/none")


def _sacct_line(job_id: int) -> str | None:
    if not accounting_available():
        return None
    argv = ["sacct", "-X", "-n", "-P", "-j", str(job_id), "-o", _SACCT_FIELDS]
    lines = run_command(argv).splitlines()
    return lines[-1] if lines else None


@dataclass(frozen=True)
class NodeStatus:
    """One node in one partition, as `sinfo` sees it."""

    node: str
    partition: str
    state: str
    cpus_allocated: int
    cpus: int
    memory_mib: int
    gres: str
    reason: str


def parse_nodes(text: str) -> list[NodeStatus]:
    """Read the output of `sinfo -h -N -o '%N|%P|%T|%C|%m|%G|%E'`."""
    nodes = []
    for line in text.splitlines():
        node, partition, state, cpus, memory, gres, reason = line.split("|", 6)
        allocated, _, _, total = (int(number) for number in cpus.split("/"))
        nodes.append(
            NodeStatus(
                node=node,
                partition=partition.rstrip("*"),  # the star marks the default partition
                state=state,
                cpus_allocated=allocated,
                cpus=total,
                memory_mib=int(memory.rstrip("+")),
                gres="" if gres == "(null)" else gres,
                reason="" if reason == "none" else reason,
            )
        )
    return nodes


def list_nodes() -> list[NodeStatus]:
    """Ask SLURM for all nodes of all partitions.

    Raises:
        SlurmError: SLURM doesn't answer.
    """
    return parse_nodes(run_command(["sinfo", "-h", "-N", "-o", "%N|%P|%T|%C|%m|%G|%E"]))


@dataclass(frozen=True)
class Submission:
    """Everything that would be handed to sbatch, before anything has been written."""

    run: RunConfig
    site: Site
    nodes: int
    ntasks_per_node: int
    time_limit_s: int
    max_restarts: int = 0
    options: tuple[str, ...] = ()
    program: tuple[str, ...] = ("course_lib.train",)
    python: str = sys.executable

    def script(self, run_dir: Path) -> str:
        """Return the job script for this run folder (see `build_script`)."""
        return build_script(
            self.site,
            run_name=self.run.name,
            run_dir=run_dir,
            nodes=self.nodes,
            ntasks_per_node=self.ntasks_per_node,
            time_limit_s=self.time_limit_s,
            python=self.python,
            max_restarts=self.max_restarts,
            options=self.options,
            program=self.program,
        )


def plan_submission(
    run: RunConfig,
    *,
    site: Site,
    nodes: int,
    ntasks_per_node: int = 1,
    time_limit_s: int | None = None,
    max_restarts: int = 0,
    options: tuple[str, ...] = (),
    program: tuple[str, ...] = ("course_lib.train",),
) -> Submission:
    """Check a run against a site and fill in what the site decides (device, backend, time limit).

    Raises:
        ValueError: the layout doesn't fit the ranks, or the ranks don't fit the site.
    """
    train = dataclasses.replace(
        run.train,
        device=site.device if run.train.device == "auto" else run.train.device,
        backend=site.backend if run.train.backend == "auto" else run.train.backend,
    )
    run = dataclasses.replace(run, train=train)
    submission = Submission(
        run=run,
        site=site,
        nodes=nodes,
        ntasks_per_node=ntasks_per_node,
        time_limit_s=site.default_time_min * 60 if time_limit_s is None else time_limit_s,
        max_restarts=max_restarts,
        options=options,
        program=program,
    )
    submission.script(Path("/check-only"))  # refuses what does not fit, and writes nothing
    check_layout(run, nodes * ntasks_per_node)
    return submission


def submit(submission: Submission, *, root: Path | None = None) -> Job:
    """Write the run folder (config.json, job.sh, job.json), hand job.sh to sbatch, return the job.

    `root` is where run folders live (default: the workspace's `runs`). The data should be there
    already (`course_lib.experiment.start_run` sees to it): a job that downloads or tokenises while
    it holds nodes wastes all of them.

    Raises:
        JobRefused: SLURM doesn't take the job; the message has SLURM's reason and what it means.
        The
            run folder stays, with the reason in job.json.
        SlurmError: SLURM is missing or silent.
    """
    run_dir = runlog.create_run_dir(submission.run, root)
    script_path = run_dir / SCRIPT_NAME
    runlog.write_text(script_path, submission.script(run_dir))
    request = {
        "job_id": None,
        "submitted_s": time.time(),
        "site": submission.site.name,
        "nodes": submission.nodes,
        "ntasks_per_node": submission.ntasks_per_node,
        "time_limit_s": submission.time_limit_s,
        "command": ["sbatch", "--parsable", str(script_path)],
    }
    runlog.write_json(run_dir / "job.json", request)
    try:
        answer = run_command(request["command"])
    except CommandFailed as error:
        explanation = explain_refusal(error.stderr)
        runlog.write_json(run_dir / "job.json", {**request, "refused": explanation})
        raise JobRefused(explanation) from error
    job_id = int(answer.strip().split(";")[0])  # "12" or, where clusters are federated, "12;name"
    runlog.write_json(run_dir / "job.json", {**request, "job_id": job_id})
    return Job(job_id, run_dir)


def find_job(job_id: int) -> Job:
    """Return a job that was submitted earlier, by its number.

    Raises:
        ValueError: SLURM doesn't know it, or it isn't a training run of the workshop.
        SlurmError: SLURM doesn't answer.
    """
    folder = job_status(job_id).work_dir
    if folder is None or not (folder / "config.json").is_file():
        raise ValueError(
            f"job {job_id} runs in {folder}, which is not a run folder (no config.json). Jobs that "
            f"you wrote yourself can be followed with: squeue -j {job_id}"
        )
    return Job(job_id, folder)


def own_user() -> str:
    """Return the user name whose jobs are "mine"."""
    import pwd  # the name that SLURM goes by, whatever $USER says

    return pwd.getpwuid(os.getuid()).pw_name


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "nothing"
