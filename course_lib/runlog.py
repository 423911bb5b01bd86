"""The run folder: what a run leaves behind for people, plots and graders.

    config.json     the RunConfig                 run_info.json  hosts, job, versions, data
    git.json        which code ran                metrics.jsonl  one JSON object per line
    result.json     written last: it is complete  failed/        one file per failed rank
    checkpoints/    to go on from (checkpoint.py) earlier_attempts/  if the run was started again
    tensorboard/    the same metrics for TensorBoard
    receipt.json    what ran where and how it ended, for graders (train/receipt.py)

Readers may look at any moment, also while a node dies. So whole files appear under their name by
a rename, which is atomic, and metrics.jsonl grows by whole lines of which only the last can be
half there. Only rank 0 writes, except into `failed/`. Left out on purpose: torch.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import socket
import statistics
import subprocess
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from course_lib.config import RunConfig
from course_lib.places import runs_dir


def create_run_dir(run: RunConfig, root: Path | None = None) -> Path:
    """Create a new folder <name>-<timestamp>[-n] with config.json and git.json; return it.

    `root` is where run folders live (default: `places.runs_dir()`). Two calls in the same second
    get two folders.
    """
    root = runs_dir() if root is None else Path(root)
    root.mkdir(parents=True, exist_ok=True)
    stem = f"{run.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    number = 1
    while True:
        run_dir = root / (stem if number == 1 else f"{stem}-{number}")
        try:
            # mkdir is the test and the claim in one: no other process can get the same name.
            run_dir.mkdir()
            break
        except FileExistsError:
            number += 1
    write_text(run_dir / "config.json", run.to_json())
    write_json(run_dir / "git.json", git_state(Path(__file__).resolve().parent))
    return run_dir


def read_config(run_dir: Path) -> RunConfig:
    """Read the run folder's config.json.

    Raises:
        ValueError: there is no such file, or it does not hold a RunConfig.
    """
    path = Path(run_dir) / "config.json"
    if not path.is_file():
        raise ValueError(f"{run_dir} is not a run folder: it has no config.json")
    try:
        return RunConfig.from_json(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def write_text(path: Path, text: str) -> None:
    """Write a whole file under a temporary name, then rename it: readers see all or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically (see `write_text`)."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_new_json(path: Path, value: Any) -> bool:
    """Write `value` as JSON, whole, unless there is such a file already; tell whether it was."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(value, indent=2) + "\n")
        os.link(temporary, path)  # unlike a rename, it replaces nothing
        return True
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value, however its text is indented and its keys are ordered."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def config_digest(run: RunConfig) -> str:
    """Return the SHA-256 of a configuration."""
    return digest(dataclasses.asdict(run))


def host_name() -> str:
    """Return the name this node goes by: SLURM's name for it, else the system's."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def job_id() -> str | None:
    """Return the SLURM job this process belongs to, or None outside a job."""
    return os.environ.get("SLURM_JOB_ID") or None


def git_state(folder: Path) -> dict[str, Any]:
    """Describe the checkout that `folder` lies in: {commit, dirty, note}.

    `commit` is None, and `note` says why, where there is no git or no commit.
    """

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        if done.returncode:
            raise OSError(done.stderr.strip().splitlines()[-1] if done.stderr else "git failed")
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "--verify", "HEAD")
        return {"commit": commit, "dirty": bool(git("status", "--porcelain")), "note": None}
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"commit": None, "dirty": None, "note": f"no git state: {error}"}


class RunLog:
    """Rank 0's pen: prints for people, appends to metrics.jsonl for programs.

    On every other rank the same calls do nothing, so the training loop needs no `if rank == 0`.
    """

    def __init__(self, run_dir: Path, rank: int) -> None:
        self.run_dir = Path(run_dir)
        self.writes = rank == 0
        self._file = open(self.run_dir / "metrics.jsonl", "a") if self.writes else None  # noqa: SIM115

    def metrics(self, record: dict[str, Any]) -> None:
        """Append one line; it is on its way to the disk when this returns."""
        if self._file is not None:
            # One write for the line and its end: a reader can only find the last line incomplete.
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()

    def say(self, text: str) -> None:
        """Print a line for people, at once (a job's output file is otherwise minutes behind)."""
        if self._file is not None:
            print(text, flush=True)

    def close(self) -> None:
        """Close metrics.jsonl."""
        if self._file is not None:
            self._file.close()


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl: step records have `loss`, validation records have `val_loss`.

    A last line that is still being written is left out. No file yet gives an empty list.

    Raises:
        ValueError: a line other than an unfinished last one is not a JSON object.
    """
    path = Path(run_dir) / "metrics.jsonl"
    try:
        text = path.read_text()
    except FileNotFoundError:  # not there yet, or a new attempt has this moment set it aside
        return []
    records = []
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        if not line.endswith("\n"):
            break
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number} is damaged: {error}") from None
        if not isinstance(record, dict):
            raise ValueError(f"{path}, line {number} is damaged: not a JSON object")
        records.append(record)
    return records


FIRST_STEPS = 3
"""They are slower: memory is new, kernels are chosen."""


def usual_step_s(records: Sequence[dict[str, Any]], run: RunConfig) -> float | None:
    """Return the median time from one step to the next, seconds: all that happens between them.

    The first steps are left out, and those that were recorded, with the one before and the one
    after, in which the profiler prepares and memory is watched. None where no other are left.
    """
    recorded = run.profile.range
    apart = range(recorded.start - 1, recorded.stop + 1) if recorded else range(0)
    at_s = {record["step"]: record["at_s"] for record in records if "at_s" in record}
    lengths = [
        at_s[step] - at_s[step - 1]
        for step in at_s
        if step > FIRST_STEPS and step not in apart and at_s.get(step - 1, math.inf) < at_s[step]
    ]
    return statistics.median(lengths) if lengths else None


def read_result(run_dir: Path) -> dict[str, Any] | None:
    """Read result.json, or return None: the run is not finished, or it failed."""
    path = Path(run_dir) / "result.json"
    return json.loads(path.read_text()) if path.is_file() else None


def processor_name() -> str:
    """Return what this machine's processor calls itself; empty if it does not."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else ""


def error_line(error: BaseException) -> str:
    """Return an exception's name and the first line of its message."""
    lines = str(error).strip().splitlines()
    return type(error).__name__ + (f": {lines[0]}" if lines else "")


def write_failure(run_dir: Path, rank: int, error: BaseException) -> None:
    """Write failed/rank_<R>.json, so that the first rank to fail can be found among many."""
    folder = Path(run_dir) / "failed"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / f"rank_{rank}.json",
        {
            "rank": rank,
            "host": host_name(),
            "time_s": time.time(),
            "error": error_line(error),
            "traceback": "".join(traceback.format_exception(error)),
        },
    )


def read_failures(run_dir: Path) -> list[dict[str, Any]]:
    """Return what failed ranks wrote, the earliest first: that one is usually the cause."""
    failures = []
    for path in (Path(run_dir) / "failed").glob("rank_*.json"):
        with contextlib.suppress(FileNotFoundError):  # a new attempt has this moment set it aside
            failures.append(json.loads(path.read_text()))
    return sorted(failures, key=lambda failure: failure["time_s"])


def check_unfinished(run_dir: Path) -> None:
    """Check that the run folder holds no result yet, which training again would overwrite.

    Raises:
        ValueError: the run is finished.
    """
    if (Path(run_dir) / "result.json").is_file():
        raise ValueError(f"{run_dir} already holds a finished run: create a new run folder")


def set_aside_earlier_attempt(run_dir: Path, resumed_step: int = 0) -> None:
    """Move what a failed or requeued attempt left to earlier_attempts/<n>, if there is any.

    Args:
        run_dir: the run folder.
        resumed_step: the step of the checkpoint from which the new attempt goes on: the records of
            the steps up to it stay in metrics.jsonl, so that the curve is whole.
    """
    run_dir = Path(run_dir)
    kept = [record for record in read_metrics(run_dir) if record["step"] <= resumed_step]
    left = [run_dir / name for name in ("metrics.jsonl", "failed", "run_info.json", "receipt.json")]
    left = [path for path in left if path.exists()]
    if left:
        attempts = run_dir / "earlier_attempts"
        attempts.mkdir(exist_ok=True)
        attempt = attempts / str(1 + sum(1 for _ in attempts.iterdir()))
        attempt.mkdir()
        for path in left:
            path.rename(attempt / path.name)
    if kept and resumed_step:
        lines = "".join(json.dumps(record) + "\n" for record in kept)
        write_text(run_dir / "metrics.jsonl", lines)
