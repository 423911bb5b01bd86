"""Find the rank that failed first, among many that failed because of it.

When one rank dies, every other rank fails too: its next collective ends with "Connection closed
by peer". A job's output therefore holds one cause and many consequences, in any order. Three
sources are put together: `failed/rank_R.json`, which a rank writes when Python raises; the blocks
"Root Cause (first observed failure)" that torchrun prints on each node, the only trace of a rank
that was killed by a signal; and the lines that SLURM adds when it ends a job itself.

The earliest failure that is not a lost connection is the cause. Clocks of different nodes are
compared here, so on a cluster whose clocks differ by seconds two real failures may change places.
"""

import json
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from course_lib import runlog

LAST_LINES = 12

# What a rank says when the other end of a connection has gone, or when torchrun or SLURM ends the
# ranks that are left over: never the first failure.
_CONSEQUENCE = re.compile(
    r"Connection (closed by peer|reset by peer|refused)|Broken pipe|Socket closed|ncclRemoteError"
    r"|remote (process|worker|server)|recvValue|DistNetworkError|SIGTERM"
    r"|Timed out waiting|timed out after",
    re.IGNORECASE,
)
_BLOCK = re.compile(
    r"^\s*time\s*: (?P<time>\d{4}-\d\d-\d\d_\d\d:\d\d:\d\d)\s*\n"
    r"^\s*host\s*: (?P<host>.*)\n"
    r"^\s*rank\s*: (?P<rank>\d+)[^\n]*\n"
    r"^\s*exitcode\s*: (?P<exit_code>-?\d+)",
    re.MULTILINE,
)
# SLURM's words when it requeues, and the first words of a new rank 0. With a rank that torchrun has
# started again, the last words of the one before it would be taken for its own.
_ENDS_A_START = re.compile(
    r"CANCELLED AT \S+ DUE TO (?:NODE FAILURE|JOB REQUEUE)[^\n]*\n|^(?=\[rank 0\] rank 0 on )",
    re.MULTILINE,
)
_SLURM_SAYS = {
    "DUE TO TIME LIMIT": "SLURM ended the job at its time limit: ask for more with --time",
    "DUE TO NODE FAILURE": "a node of the job stopped answering, so SLURM ended the job there",
    "exceeded memory limit": "SLURM ended the job because it used more memory than it reserved: "
    "use fewer ranks on a node, or a smaller micro-batch",
    "oom-kill event": "the node's kernel killed a process because the job used more memory than "
    "it reserved: use fewer ranks on a node, or a smaller micro-batch",
}


@dataclass(frozen=True)
class Failure:
    """One rank's end."""

    rank: int
    host: str
    time_s: float
    """Seconds since 1970 on that node's clock."""
    error: str
    """One line: the exception, or the signal."""
    last_lines: tuple[str, ...]
    consequence: bool
    """Whether it only reports that another rank has gone."""


@dataclass(frozen=True)
class Postmortem:
    """What could be found out about a failed job."""

    first: Failure | None
    """The rank that failed first; None when no rank left a trace."""
    others: tuple[int, ...]
    """The other ranks that reported a failure."""
    slurm_says: str
    """Why SLURM itself ended the job, or empty."""
    output: tuple[str, ...]
    """The job's last lines of output, for when there is nothing better."""

    def text(self) -> str:
        """Tell it to a learner, in a few lines."""
        lines = [self.slurm_says] if self.slurm_says else []
        if self.first is None:
            if not lines:
                lines.append("no rank reported a failure; the job's output ends with:")
                lines += [f"    {line}" for line in self.output or ("(it is empty)",)]
            return "\n".join(lines)
        first = self.first
        if first.consequence:
            lines.append(
                "no rank failed by itself: each was told to stop or lost its connection to another "
                "one. A job that is cancelled or loses a node ends like this. The earliest report:"
            )
            lines.append(f"rank {first.rank} on {first.host}: {first.error}")
            return "\n".join(lines)
        lines.append(f"rank {first.rank} on {first.host} failed first: {first.error}")
        lines += [f"    {line}" for line in first.last_lines]
        if self.others:
            ranks = ", ".join(str(rank) for rank in self.others)
            lines.append(f"rank {ranks} failed after it, as a consequence")
        return "\n".join(lines)


def examine(run_dir: Path, output: str) -> Postmortem:
    """Find the first failure of the run in `run_dir`, whose job printed `output`.

    The output of a job that SLURM requeued, or whose ranks torchrun started again, holds all its
    starts; only the last one counts.
    """
    output = _ENDS_A_START.split(output)[-1] or output
    failures = _reported(run_dir)
    known = {failure.rank for failure in failures}
    failures += [each for each in _from_torchrun(output, _hosts(run_dir)) if each.rank not in known]
    # False sorts before True: causes first, then by time.
    failures.sort(key=lambda failure: (failure.consequence, failure.time_s))
    first = failures[0] if failures else None
    says = [sentence for words, sentence in _SLURM_SAYS.items() if words in output]
    return Postmortem(
        first=first,
        others=tuple(sorted(f.rank for f in failures if f is not first)),
        slurm_says="; ".join(says),
        output=tuple(_readable(output.splitlines())[-LAST_LINES:]),
    )


def examine_job(run_dir: Path, output_path: Path) -> Postmortem:
    """Do the same for a job's output file; a job that never started has none."""
    text = output_path.read_text(errors="replace") if output_path.is_file() else ""
    return examine(run_dir, text)


def _reported(run_dir: Path) -> list[Failure]:
    """Read failed/rank_R.json, which ranks wrote themselves."""
    failures = []
    for record in runlog.read_failures(run_dir):
        error = record["error"]
        lines = [line for line in record["traceback"].splitlines() if line.strip()]
        failures.append(
            Failure(
                rank=record["rank"],
                host=record["host"],
                time_s=record["time_s"],
                error=error,
                last_lines=tuple(lines[-LAST_LINES:]),
                # NCCL tells what happened to the connection in the lines below the first.
                consequence=bool(_CONSEQUENCE.search("\n".join([error, *lines[-3:]]))),
            )
        )
    return failures


def _from_torchrun(output: str, hosts: list[str]) -> list[Failure]:
    """Read torchrun's failure blocks: the only trace of a rank that a signal ended."""
    failures = []
    for block in _BLOCK.finditer(output):
        rank, exit_code = int(block["rank"]), int(block["exit_code"])
        lines = rank_lines(output, rank)
        if exit_code >= 0:
            error = f"exit code {exit_code}"
        elif exit_code == -signal.SIGKILL:
            error = "killed by signal 9 (SIGKILL): by hand, or by the kernel for its memory"
        else:
            error = f"ended by signal {-exit_code} ({signal.Signals(-exit_code).name})"
        failures.append(
            Failure(
                rank=rank,
                host=hosts[rank] if rank < len(hosts) else block["host"].strip(),
                time_s=time.mktime(time.strptime(block["time"], "%Y-%m-%d_%H:%M:%S")),
                error=error,
                last_lines=tuple(lines[-LAST_LINES:]),
                consequence=exit_code == -signal.SIGTERM
                or (exit_code >= 0 and bool(_CONSEQUENCE.search("\n".join(lines[-3:])))),
            )
        )
    return failures


def rank_lines(output: str, rank: int) -> list[str]:
    """Return what one rank printed, without the prefix that the job script had put in front."""
    prefix = f"[rank {rank}] "
    lines = [line.removeprefix(prefix) for line in output.splitlines() if line.startswith(prefix)]
    return [line.removeprefix(f"[rank{rank}]: ") for line in lines]


def _hosts(run_dir: Path) -> list[str]:
    """Return each rank's node, as the ranks told rank 0 before the first step; empty before that.

    torchrun names hosts by the network, where all nodes of one machine may be `localhost`.
    """
    path = run_dir / "run_info.json"
    return json.loads(path.read_text())["hosts"] if path.is_file() else []


def _readable(lines: list[str]) -> list[str]:
    return [line for line in lines if line.strip() and not line.lstrip().startswith("frame #")]
