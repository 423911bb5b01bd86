"""Checks of what this machine has and allows: namespaces, links, disk, memory, cores, folders.

They need no running cluster and only the standard library. As in checks_software.py, deciding is
left to pure `judge_` functions.
"""

import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from course_lib.places import base_dir, workspace_dir
from slurm_env import cluster, config
from slurm_env.checks import FAILED, OK, SKIPPED, WARNING, Check, Finding, Trouble
from slurm_env.checks_software import INSTALL
from slurm_env.hosts import Machine, probe_machine
from slurm_env.processes import run

DEFAULT_NODES = 4
# The database takes 0.1 GB; runs with their checkpoints take most of the rest.
DISK_WANTED_BYTES = 5 * 10**9
DISK_NEEDED_BYTES = 10**9
MEMORY_WANTED_BYTES = 4 * 10**9
# Kernel switches that forbid user namespaces: the value that does it, and one that allows them.
SWITCHES = {
    "kernel/apparmor_restrict_unprivileged_userns": ("1", "0"),
    "kernel/unprivileged_userns_clone": ("0", "1"),
    "user/max_user_namespaces": ("0", "10000"),
}


def machine_checks(record: Mapping[str, Any] | None) -> list[Check]:
    """Give the checks; `record` is that of a running cluster."""
    spec = record["spec"] if record else None
    nodes = spec["nodes"] if spec else DEFAULT_NODES
    memory = spec["nodes"] * config.MEMORY_PER_NODE_MB * 2**20 if spec else None
    return [
        Check("namespaces", lambda: namespaces(record)),
        Check("link speed (tc)", lambda: link_shaping(record)),
        Check("disk space", disk),
        Check("memory", lambda: judge_memory(*available_memory(), memory)),
        Check("cores", lambda: judge_cores(available_cores(), nodes * config.CPUS_PER_NODE)),
        Check("GPU", gpu, limit_s=120),
        Check("network port", port),
        Check("workspace", workspace),
        Check("temporary folder", temporary_folder),
    ]


def _machine(record: Mapping[str, Any] | None) -> Machine:
    """Try what works here; where a cluster runs, say in which mode its `up` started it."""
    if record:
        return Machine(mode=record["mode"], why=record["why"])
    try:
        return probe_machine(os.environ.get("WORKSHOP_MODE"))
    except ValueError as error:
        remedy = "`unset WORKSHOP_MODE` lets the workshop choose."
        raise Trouble(Finding(FAILED, str(error), remedy)) from None


def namespaces(record: Mapping[str, Any] | None) -> Finding:
    machine = _machine(record)
    switches = {name: Path("/proc/sys", name) for name in SWITCHES}
    values = {name: path.read_text().strip() for name, path in switches.items() if path.exists()}
    tools = all(shutil.which(name) for name in ("ip", "tc", "unshare", "nsenter"))
    return judge_namespaces(machine, values, tools)


def judge_namespaces(machine: Machine, switches: Mapping[str, str], tools: bool) -> Finding:
    if machine.mode != "loopback":
        return Finding(OK, f"{machine.mode} mode: {machine.why}, so nodes are hosts of their own")
    found = f"loopback mode: {machine.why}; nodes share this machine's name and network"
    if "WORKSHOP_MODE" in machine.why:
        return Finding(OK, found)
    for name, (forbids, allows) in SWITCHES.items():
        if switches.get(name) == forbids:
            return Finding(WARNING, found, f"sudo sysctl {name.replace('/', '.')}={allows}")
    if not tools:
        return Finding(WARNING, found, f"{INSTALL} iproute2 util-linux")
    remedy = (
        "In a container, allow namespaces (Docker: --security-opt seccomp=unconfined), or go on: "
        "only what slows or cuts a link is missing."
    )
    return Finding(WARNING, found, remedy)


def link_shaping(record: Mapping[str, Any] | None) -> Finding:
    machine = _machine(record)
    if record and machine.mode != "loopback":
        abilities = cluster.request("status", timeout_s=10)["abilities"]
        machine = replace(machine, abilities=frozenset(abilities))
    return judge_link_shaping(machine)


def judge_link_shaping(machine: Machine) -> Finding:
    if machine.mode == "loopback":
        remedy = "See `namespaces`; the labs do without and say so."
        return Finding(SKIPPED, "loopback mode has no cables to slow down", remedy)
    if "tbf" not in machine.abilities:
        return Finding(
            WARNING,
            "the kernel has no tbf: `workshop link` can't set a rate (cut and join work)",
            "`sudo modprobe sch_tbf` loads it, where the kernel has modules.",
        )
    if "netem" not in machine.abilities:
        return Finding(
            WARNING,
            "rate can be set; latency can't: the kernel has no netem",
            "`sudo modprobe sch_netem` loads it where the kernel has modules; the labs do without.",
        )
    return Finding(OK, "rate and latency can be set")


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(folder for folder in (path, *path.parents) if os.path.exists(folder))


def disk() -> Finding:
    return judge_disk(shutil.disk_usage(_existing(base_dir())).free, str(base_dir()))


def judge_disk(free_bytes: int, folder: str) -> Finding:
    found = f"{free_bytes / 1e9:.1f} GB free at {folder}"
    if free_bytes >= DISK_WANTED_BYTES:
        return Finding(OK, found)
    remedy = (
        f"Free up to {DISK_WANTED_BYTES / 1e9:.0f} GB there (old runs: workspace/runs), "
        "or set WORKSHOP_BASE to a folder on another disk."
    )
    return Finding(WARNING if free_bytes >= DISK_NEEDED_BYTES else FAILED, found, remedy)


def available_memory() -> tuple[int, bool]:
    """(bytes that can still be had, whether it is a container's limit that says so)."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = Path("/sys/fs/cgroup", name)
        if limit.exists() and (text := limit.read_text().strip()).isdigit() and int(text) < free:
            return int(text), True
    return free, False


def judge_memory(available_bytes: int, container: bool, promised_bytes: int | None) -> Finding:
    found = f"{available_bytes / 1e9:.1f} GB available"
    found += " (this container's limit)" if container else ""
    if promised_bytes is None:
        enough = available_bytes >= MEMORY_WANTED_BYTES
        found += "" if enough else f"; {MEMORY_WANTED_BYTES / 1e9:.0f} GB are wanted"
    else:
        enough = available_bytes >= promised_bytes
        found += f"; the nodes promise {promised_bytes / 1e9:.1f} GB together"
    if enough:
        return Finding(OK, found)
    remedy = "Close other programs, or start fewer nodes: `workshop down`, `workshop up --nodes 2`."
    return Finding(WARNING, found, remedy)


def available_cores() -> int:
    cores = len(os.sched_getaffinity(0))
    limit = Path("/sys/fs/cgroup/cpu.max")
    if limit.exists() and not (words := limit.read_text().split())[0].startswith("max"):
        cores = min(cores, max(1, int(words[0]) // int(words[1])))
    return cores


def judge_cores(real: int, promised: int) -> Finding:
    found = f"{real} real, {promised} promised by the nodes"
    if real < 2:
        remedy = "Give the machine or container two cores or more: on one, the labs take long."
        return Finding(WARNING, found, remedy)
    return Finding(OK, found + (": ranks take turns" if real < promised else ""))


def gpu() -> Finding:
    listing = ""
    if shutil.which("nvidia-smi"):
        done = run(["nvidia-smi", "-L"], timeout_s=20)
        listing = done.stdout if done.returncode == 0 else ""
    names = re.findall(r"^GPU \d+: (.+?)(?: \(UUID|$)", listing, flags=re.MULTILINE)
    seen = bool(names) and _torch_sees_gpus()
    return judge_gpu(names, seen)


def _torch_sees_gpus() -> bool:
    code = "import torch; print(torch.cuda.is_available())"
    return run([sys.executable, "-c", code], timeout_s=90).stdout.split()[-1:] == ["True"]


def judge_gpu(names: list[str], torch_sees_them: bool) -> Finding:
    fake = f"the {config.FAKE_GPUS_PER_NODE} GPUs of each class node are fake, to practise asking"
    if not names:
        return Finding(OK, f"none: the labs run on the CPU; {fake}")
    found = f"{len(names)} x {names[0]}"
    if torch_sees_them:
        return Finding(OK, f"{found}, seen by torch; {fake}")
    return Finding(
        WARNING,
        f"{found}, but torch does not see it; the labs run on the CPU; {fake}",
        "For the optional GPU labs install a CUDA build of the pinned torch version.",
    )


def port() -> Finding:
    remedy = "Allow connections to 127.0.0.1 (firewall, sandbox): JupyterLab is reached there."
    try:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            number = listener.getsockname()[1]
            socket.create_connection(("127.0.0.1", number), timeout=5).close()
    except OSError as error:
        return Finding(FAILED, f"no port at 127.0.0.1 can be had: {error.strerror}", remedy)
    return Finding(OK, "a port at 127.0.0.1 can be opened and reached")


def workspace() -> Finding:
    base = base_dir()
    if os.path.exists(base) and base.stat().st_uid != os.geteuid():
        return Finding(
            FAILED,
            f"{base} belongs to another user",
            "Set WORKSHOP_BASE to a folder of yours.",
        )
    return writable(workspace_dir())


def writable(folder: Path) -> Finding:
    """Try to write where the learner's work goes, or where that folder will be made."""
    where = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=where) as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        return Finding(
            FAILED,
            f"can't write to {where}: {error.strerror}",
            f"Set WORKSHOP_BASE to a folder of yours, or make {where} writable for you.",
        )
    return Finding(OK, f"{where} is writable" + ("" if where == folder else " (not yet made)"))


def temporary_folder() -> Finding:
    """Unix sockets live there, and their paths are short by decree of the kernel."""
    return writable(cluster.short_dir())
