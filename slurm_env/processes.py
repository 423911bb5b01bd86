"""Small, bounded dealings with processes: run one, wait, find out whether one lives."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path


class ClusterError(Exception):
    """Something the user must know: what failed, the log to read, and the remedy."""


def run(
    command: Sequence[str],
    *,
    check: bool = False,
    timeout_s: float = 20,
    env: dict[str, str] | None = None,
    text: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a short command on `text` and keep what it prints; one that hangs ends with code 124.

    Raises:
        ClusterError: `check` is set and the command failed; it says which and what it printed.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=env,
            input=text,
        )
    except FileNotFoundError as error:
        if check:
            raise ClusterError(f"{command[0]} is not installed: run `make setup`") from error
        raise
    except subprocess.TimeoutExpired as error:
        if check:
            raise ClusterError(f"`{' '.join(command)}` hung for {timeout_s:.0f} s") from error
        done = subprocess.CompletedProcess(list(command), 124, "", f"no end in {timeout_s:.0f} s")
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise ClusterError(f"`{' '.join(command)}` failed ({done.returncode}): {said}")
    return done


def wait_until(
    ready: Callable[[], bool], *, timeout_s: float, what: str, log: Path, step_s: float = 0.02
) -> None:
    """Wait for `ready()`.

    Raises:
        ClusterError: it took longer than `timeout_s`; the message names the log and its last lines.
    """
    end = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > end:
            raise ClusterError(
                f"waited {timeout_s:.0f} s for {what} in vain. Log: {log}\n{last_lines(log)}"
            )
        time.sleep(step_s)


def last_lines(log: Path, count: int = 8) -> str:
    """Give the last lines of a log, indented, or say that there is none."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-count:]
    except OSError as error:
        return f"  (no log: {error.strerror})"
    return "\n".join(f"  {line}" for line in lines) or "  (the log is empty)"


def start_time(pid: int) -> int | None:
    """Give a process's start time in clock ticks since boot, or None if it is gone or a zombie.

    Together with the pid it names a process for good: pids are used again, start times are not.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def alive(pid: int, started: int | None) -> bool:
    return started is not None and start_time(pid) == started


def first_child(pid: int) -> int | None:
    """Give the first child of a process: for `unshare --fork`, the namespace's process 1."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(children[0]) if children else None


def fetch_local(url: str, *, timeout_s: float) -> None:
    """Ask a server on this machine for a page, past any proxy that the environment names.

    Raises:
        OSError: no answer, or not the page.
    """
    # Imported here: most commands never speak HTTP, and it takes a while to load.
    from urllib.request import ProxyHandler, build_opener

    build_opener(ProxyHandler({})).open(url, timeout=timeout_s).close()


def kill_marked(marks: dict[str, str], logs: str) -> list[int]:
    """Kill every process of this user whose environment holds all of `marks`, and its descendants.

    Loopback mode needs it: without namespaces a job's processes outlive the daemon that started
    them. slurmstepd writes its title over its environment, so it is known by the log file that it
    holds open, one that matches the pattern `logs`. Returns the pids that were killed.
    """
    parents: dict[int, int] = {}
    marked: set[int] = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if entry.stat().st_uid != os.geteuid():
                continue
            stat = (entry / "stat").read_text()
            environment = (entry / "environ").read_bytes().split(b"\0")
            files = []
            if "(slurmstepd)" in stat:
                files = [os.readlink(file) for file in (entry / "fd").iterdir()]
        except OSError:  # it ended while we looked
            continue
        parents[int(entry.name)] = int(stat[stat.rindex(")") + 2 :].split()[1])
        if all(f"{key}={value}".encode() in environment for key, value in marks.items()) or any(
            fnmatchcase(file, logs) for file in files
        ):
            marked.add(int(entry.name))
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in marked} - marked
        grown = bool(children)
        marked |= children
    for pid in marked:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return sorted(marked)
