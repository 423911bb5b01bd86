"""Clusters for the tests: each starts its own, in a temporary folder, and is stopped in the end.

As root every mode is tried, the unprivileged ones as ordinary users made for the tests; as an
ordinary user those that this machine allows.
"""

import contextlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from slurm_env.hosts import probe_machine

REPOSITORY = Path(__file__).resolve().parents[2]
AS_ROOT = os.geteuid() == 0 and probe_machine().mode == "root"


@dataclass
class Person:
    """Somebody who runs commands: this user, or an ordinary one made for the tests."""

    name: str
    prefix: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    python: str = sys.executable

    def run(self, *command: str, timeout_s: float = 120, **environment: str):
        return subprocess.run(
            [*self.prefix, *command],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )


def make_person(name: str, place: Path) -> Person:
    """Make an ordinary user who can read this checkout, wherever it lies."""
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", name], check=True)
    account = pwd.getpwnam(name)
    # A checkout under root's home is closed to others: show it at a readable place, in a mount
    # namespace of this command only.
    checkout = place / "checkout"
    checkout.mkdir(exist_ok=True)
    become = f"setpriv --reuid {account.pw_uid} --regid {account.pw_gid} --init-groups"
    script = f'mount --bind "$1" "$2" && cd "$2" && shift 2 && exec {become} "$@"'
    return Person(
        name=name,
        prefix=["unshare", "--mount", "sh", "-c", script, "sh", str(REPOSITORY), str(checkout)],
        environment={
            "HOME": account.pw_dir,
            "USER": name,
            "LOGNAME": name,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(checkout),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        python=str(checkout / Path(sys.executable).relative_to(REPOSITORY)),
    )


@dataclass
class Cluster:
    """One class cluster of one person."""

    person: Person
    base: Path
    mode: str

    @property
    def environment(self) -> dict[str, str]:
        forced = {"WORKSHOP_MODE": "loopback"} if self.mode == "loopback" else {}
        return {"WORKSHOP_BASE": str(self.base)} | forced

    def workshop(self, *words: str, timeout_s: float = 120):
        return self.person.run(
            self.person.python,
            "-m",
            "slurm_env",
            *words,
            timeout_s=timeout_s,
            **self.environment,
        )

    def up(self, *words: str) -> None:
        done = self.workshop("up", "--no-jupyter", *words)
        assert done.returncode == 0, done.stdout + done.stderr

    def down(self) -> None:
        done = self.workshop("down")
        assert done.returncode == 0, done.stdout + done.stderr

    def shell(self, line: str, *, ok: bool = True, timeout_s: float = 120) -> str:
        """Run a line on the login node and give what it printed; `ok` asks for success."""
        done = self.workshop("shell", "-c", f"cd; {line}", timeout_s=timeout_s)
        if ok:
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            return done.stdout
        return done.stdout + done.stderr

    def status(self) -> dict:
        return json.loads(self.workshop("status", "--json").stdout)

    def states(self) -> dict[str, str]:
        lines = self.shell("sinfo -h -N -p main -o '%N %T'").split("\n")
        return dict(line.split() for line in lines if line)

    def pids(self, name: str) -> list[int]:
        """Pids, outside, of this cluster's processes with that command name ("": all)."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                marked = f"WORKSHOP_BASE={self.base}".encode() in (entry / "environ").read_bytes()
                if b"slurmstepd" in words[0]:  # its title lies over its environment
                    files = [os.readlink(file) for file in (entry / "fd").iterdir()]
                    marked = any(file.startswith(f"{self.base}/cluster/log/") for file in files)
                if marked and name in ("", Path(words[0].decode()).name):
                    found.append(int(entry.name))
        return sorted(found)


def wait_for(
    ready: Callable[[], bool], timeout_s: float, what: str, *, seen: Callable[[], str] = str
) -> float:
    """Wait until `ready()`; give how long it took.

    After `timeout_s` the test fails, and `seen()` tells what there was instead.
    """
    started = time.monotonic()
    while not ready():
        if time.monotonic() - started > timeout_s:
            pytest.fail(f"waited {timeout_s} s for {what}\n{seen()}")
        time.sleep(0.2)
    return time.monotonic() - started


def modes() -> list[str]:
    best = probe_machine().mode
    return {
        "root": ["root", "rootless", "loopback"],
        "rootless": ["rootless", "loopback"],
        "loopback": ["loopback"],
    }[best]


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    # Not pytest's tmp_path: its parents are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="workshop test "))  # the space is on purpose
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def people(place: Path) -> Iterator[list[Person]]:
    """Two ordinary users; where they can't be made (not root, no namespaces) only this one."""
    if not AS_ROOT:
        yield [Person(name=pwd.getpwuid(os.geteuid()).pw_name)]
        return
    names = [f"ws{os.getpid()}{letter}" for letter in "ab"]
    try:
        yield [make_person(name, place) for name in names]
    finally:
        for name in names:
            subprocess.run(["userdel", "--remove", "--force", name], capture_output=True)


def build_cluster(mode: str, people: list[Person], place: Path, name: str) -> Cluster:
    person = Person(name="root") if mode == "root" else people[0]
    base = place / f"{name} {mode}"
    base.mkdir()
    os.chown(base, pwd.getpwnam(person.name).pw_uid, -1)
    return Cluster(person=person, base=base, mode=mode)


@pytest.fixture(scope="session", params=modes())
def cluster(request, people: list[Person], place: Path) -> Iterator[Cluster]:
    """A running cluster with accounting, one for each mode, shared by the tests of a session."""
    shared = build_cluster(request.param, people, place, "shared")
    try:
        shared.up()
        yield shared
    finally:
        shared.workshop("down")
        shutil.rmtree(shared.base)
