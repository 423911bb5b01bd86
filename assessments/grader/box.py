"""The box in which a learner's notebook runs while it is graded: bubblewrap, limits, a guard.

The box has no network, sees the Python installation and `course_lib` read-only, and of all
submissions only the one that it is for. What it may write lies in memory and goes with it. Neither
solutions nor hidden tests nor the gradebook exist in there. Whoever grades as root gives each box a
user of its own, as the kernel counts processes by user; otherwise the box's user is the grader's
outside and nobody within.

Memory, processes and files are limited from within (prlimit) and watched from outside (`Guard`),
as a limit for each process says nothing about many of them.
"""

import contextlib
import fcntl
import functools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

import course_lib
from course_lib.slurm.site import NO_CLUSTER

MIB = 2**20
HOME, CHANNEL = "/learner", "/channel"
"""In the box."""
NOBODY = 65534
UIDS = range(61_000, 61_184)
"""Of the boxes, where the grader is root: Debian gives them to nobody."""
USERS = Path("/run/workshop-boxes")
"""A file for each of them, locked while a box has it: by any grader of this machine."""
POLL_S = 0.2


class BoxError(RuntimeError):
    """There can be no box here; the message says why and what helps."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a submission may use."""

    cell_s: float = 60.0
    """Seconds for one cell."""
    notebook_s: float = 600.0
    """Seconds for all of them."""
    memory_bytes: int = 4096 * MIB
    """Of all processes of the box together, with its files."""
    processes: int = 128
    """Processes and threads at a time."""
    disk_bytes: int = 256 * MIB
    """In each of the places where it may write."""
    output_bytes: int = MIB
    """Of what a cell puts out."""


class BoxUser:
    """The user that a box runs as, for as long as this is not closed.

    Raises:
        BoxError: as many boxes as there are users run on this machine.
    """

    def __init__(self) -> None:
        self.uid, self._lock = NOBODY, -1
        if os.geteuid() != 0:
            return
        USERS.mkdir(mode=0o700, exist_ok=True)
        for self.uid in UIDS:
            self._lock = os.open(USERS / str(self.uid), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            os.close(self._lock)
        raise BoxError(
            f"{len(UIDS)} sandboxes run on this machine, and there are no users for more: grade "
            "when others have ended"
        )

    def own(self, path: Path) -> None:
        """Give a file to this user, if it is another than the grader's."""
        if self._lock >= 0:
            os.chown(path, self.uid, self.uid)

    def close(self) -> None:
        """Let another box have it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def box_argv(
    inner: Sequence[str], *, submission: Path, channel: Path, limits: Limits, uid: int
) -> list[str]:
    """Return the command that runs `inner` in a box.

    Args:
        inner: a command of the Python installation.
        submission: what was handed in: read-only in the box, copied to where the notebook runs.
        channel: the one folder that both sides can write: sockets.
        uid: of the box's user.
    """
    is_root = os.geteuid() == 0
    words = ["bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    words += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--clearenv"]
    words += ["--hostname", "grading"]
    if not is_root:
        words += ["--unshare-user", "--uid", str(uid), "--gid", str(uid)]
    else:  # setpriv needs them, and drops them for good
        words += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        words += ["--cap-add", "CAP_SETPCAP", "--cap-add", "CAP_CHOWN"]
    places, size = _python_places(), str(limits.disk_bytes)
    # First what may be written: the kit itself may lie in a folder below /tmp.
    words += ["--size", size, "--perms", "1777", "--tmpfs", "/tmp"]
    words += ["--size", size, "--perms", "1777", "--tmpfs", HOME]
    for folder in _parents([*places, "/etc/passwd"]):
        words += ["--perms", "0755", "--dir", folder]
    for path in places:
        words += ["--ro-bind", path, path]
    words += ["--symlink", "/tmp/passwd", "/etc/passwd"]
    for name in ("/bin", "/sbin", "/lib", "/lib64"):
        if os.path.islink(name):
            words += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            words += ["--ro-bind", name, name]
    words += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    words += ["--proc", "/proc", "--dev", "/dev", "--size", str(MIB), "--tmpfs", "/dev/mqueue"]
    words += ["--size", size, "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    words += ["--ro-bind", str(submission), "/submission", "--bind", str(channel), CHANNEL]
    words += ["--remount-ro", "/"]
    environment = {
        "HOME": HOME,
        "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "USER": "learner",
        "GLOO_SOCKET_IFNAME": "lo",  # or ranks look for a network, and wait
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(_library().parent),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "WORKSHOP_BASE": f"{HOME}/workshop",
        NO_CLUSTER: "Where notebooks are graded there is no cluster: what this cell does was done "
        "in your lab, and it has no marks of its own.",
    }
    for name, value in environment.items():
        words += ["--setenv", name, value]
    words += ["--chdir", HOME, "--", "/bin/sh", "-c", _ENTER, "sh", str(uid)]
    words += ["setpriv" if is_root else "", str(limits.processes), str(64 * MIB), *inner]
    return words


# In the box, as its first process. The processes are limited here and not before: outside, all
# others of the grader would count, too.
_ENTER = """
uid=$1 drop=$2 processes=$3 file=$4; shift 4
printf 'learner:x:%s:%s::/learner:/bin/sh\\n' "$uid" "$uid" >/tmp/passwd 2>/dev/null
cp -R /submission/. . 2>/dev/null; chmod -R u+w . 2>/dev/null
limits="prlimit --nproc=$processes --fsize=$file --core=0 --"
[ -z "$drop" ] && exec $limits "$@"
chown -R "$uid:$uid" . 2>/dev/null
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups --no-new-privs --bounding-set=-all \\
    --inh-caps=-all $limits "$@"
"""


def _parents(paths: Sequence[str]) -> list[str]:
    """Return the folders above these, outermost first: bwrap's own are closed to other users."""
    found = {str(parent) for path in paths for parent in Path(path).parents}
    return sorted(found - {"/", *paths, "/tmp"})


@functools.cache
def _python_places() -> tuple[str, ...]:
    """Return what of this machine Python needs: no labs, no answers, no home."""
    places = ["/usr", sys.prefix, sys.base_prefix, str(_library())]
    return tuple(
        place
        for place in dict.fromkeys(os.path.realpath(place) for place in places)
        if place == "/usr" or not place.startswith("/usr/")
    )


def _library() -> Path:
    return Path(course_lib.__file__).resolve().parent


@functools.cache
def require_box() -> None:
    """Raise BoxError, with the remedy, if no box can be made here."""
    if shutil.which("bwrap") is None:
        raise BoxError(
            "grading runs learners' code in a sandbox, and bubblewrap is not installed: "
            "sudo apt-get install bubblewrap (or run `make setup`)"
        )
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="box-") as folder, contextlib.closing(BoxUser()) as user:
        argv = box_argv(
            [sys.executable, "-c", "import course_lib"],
            submission=Path(folder),
            channel=Path(folder),
            limits=Limits(),
            uid=user.uid,
        )
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
            said = done.stderr.strip().splitlines()[-1:] if done.returncode else None
        except subprocess.TimeoutExpired:
            said = ["it did not answer within 60 s"]
    if said is not None:
        raise BoxError(
            f"this machine cannot make the sandbox that grading needs ({''.join(said)}). Where user"
            " namespaces are forbidden: sudo sysctl kernel.unprivileged_userns_clone=1 (on Ubuntu "
            "also kernel.apparmor_restrict_unprivileged_userns=0), or grade on another machine"
        )


class Guard:
    """Watch a box from outside and end it when it takes more than it may.

    Attributes:
        reason: why it was ended; empty while it was not.
    """

    def __init__(self, process: subprocess.Popen, channel: Path, limits: Limits) -> None:
        self.reason = ""
        self._process, self._channel, self._limits = process, channel, limits
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watch."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(POLL_S):
            self.reason = self._too_much()
            if self.reason:
                self._process.kill()  # the first process of the box, and so all in it
                return

    def _too_much(self) -> str:
        try:
            inside = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return ""
        limits = self._limits
        threads, memory_bytes = 0, 0
        for process in inside:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                threads += process.num_threads()
                memory_bytes += _own_bytes(process)
        if threads > 2 * limits.processes:
            return f"it had {threads} processes and threads, and {limits.processes} are allowed"
        memory_bytes += sum(_written_bytes(process) for process in inside[-1:])
        if memory_bytes > limits.memory_bytes:
            return (
                f"it took {memory_bytes // MIB} MiB of memory, and {limits.memory_bytes // MIB} "
                "are allowed"
            )
        channel_bytes = sum(entry.stat().st_size for entry in self._channel.rglob("*"))
        if channel_bytes > MIB:
            return "it wrote files where only its sockets belong"
        return ""


def _own_bytes(process: psutil.Process) -> int:
    """Return memory of a process; what ranks share since their fork counts once in all."""
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        pss = next(line for line in text.splitlines() if line.startswith("Pss:"))
        return int(pss.split()[1]) * 1024
    except (OSError, StopIteration):
        return process.memory_info().rss


def _written_bytes(process: psutil.Process) -> int:
    """Return what lies in the box's file systems, seen through one of its processes."""
    total = 0
    for place in ("/tmp", HOME, "/dev/shm"):
        with contextlib.suppress(OSError):
            stat = os.statvfs(f"/proc/{process.pid}/root{place}")
            total += (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    return total
