"""Checks of what is installed: SLURM, the accounting database, Python and its packages.

Standard library only, so that they can speak in a broken environment; torch is imported in a
process of its own. A check gathers facts and hands them to a pure `judge_` function where there is
something to decide: the tests show the judges every kind of machine.
"""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from slurm_env.checks import FAILED, OK, WARNING, Check, Finding, one_line
from slurm_env.processes import run

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
DISTRIBUTION = "large-model-workshop"
OLDEST_PYTHON = (3, 11)
INSTALL = "sudo apt-get install -y --no-install-recommends"


def software_checks() -> list[Check]:
    return [
        Check("SLURM and munge", slurm_packages),
        Check("accounting database", accounting_packages),
        Check("grading sandbox", sandbox),
        Check("Python", python),
        Check("Python packages", python_packages),
        Check("torch", torch, limit_s=100),
    ]


def _version(*command: str) -> str:
    """The first thing like a version number that a command prints of itself."""
    done = run(command, timeout_s=10)
    match = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return match.group() if match else "unknown version"


def slurm_packages() -> Finding:
    wanted = ("slurmctld", "slurmd", "srun", "sbatch", "munged", "munge", "unmunge")
    missing = [name for name in wanted if not shutil.which(name)]
    if missing:
        return Finding(FAILED, f"missing: {', '.join(missing)}", f"{INSTALL} slurm-wlm munge")
    versions = _version("slurmctld", "-V"), _version("munged", "--version")
    return Finding(OK, "SLURM {}, munge {}".format(*versions))


def accounting_packages() -> Finding:
    wanted = ("slurmdbd", "mariadbd", "mariadb-install-db")
    missing = [name for name in wanted if not shutil.which(name)]
    if missing:
        return Finding(
            WARNING,
            f"missing: {', '.join(missing)}: the class runs without `sacct` and without limits",
            f"{INSTALL} slurmdbd mariadb-server, then `workshop down` and `workshop up`.",
        )
    return Finding(OK, f"slurmdbd, MariaDB {_version('mariadbd', '--version')}")


def sandbox() -> Finding:
    """Tell whether learners' notebooks can be graded here; only the instructor needs that."""
    remedy = f"{INSTALL} bubblewrap"
    if not shutil.which("bwrap"):
        return Finding(WARNING, "no bubblewrap: `workshop class grade` cannot grade", remedy)
    done = run(["bwrap", "--ro-bind", "/", "/", "--unshare-all", "true"], timeout_s=10)
    return judge_sandbox(_version("bwrap", "--version"), done.returncode, done.stderr)


def judge_sandbox(version: str, code: int, said: str) -> Finding:
    if code:
        return Finding(
            WARNING,
            f"bubblewrap {version} cannot make a sandbox here ({one_line(said)}): no grading",
            "sudo sysctl kernel.unprivileged_userns_clone=1 (on Ubuntu also "
            "kernel.apparmor_restrict_unprivileged_userns=0), or grade on another machine",
        )
    return Finding(OK, f"bubblewrap {version}")


def python() -> Finding:
    here = Path(sys.prefix)
    own = sys.prefix != sys.base_prefix or (here / "conda-meta").is_dir()
    return judge_python(sys.version_info[:3], own, str(here))


def judge_python(version: tuple[int, ...], own_environment: bool, prefix: str) -> Finding:
    words = ".".join(map(str, version))
    if version < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return Finding(
            FAILED,
            f"Python {words} is older than {oldest}",
            f"Install Python {oldest} or newer, then `make setup` builds the environment with it.",
        )
    if not own_environment:
        return Finding(
            WARNING,
            f"Python {words} of the system, not of the workshop's environment",
            "`make setup`, then start the workshop from its environment: .venv/bin/workshop doctor",
        )
    return Finding(OK, f"{words} in {prefix}")


def requirements() -> list[str]:
    """The pinned requirements: from the checkout, or from the installed distribution."""
    if PYPROJECT.exists() and sys.version_info >= (3, 11):
        import tomllib

        return tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    return importlib.metadata.requires(DISTRIBUTION) or []


def pins(lines: Iterable[str]) -> dict[str, str]:
    """Read `name==version` lines; extras for developers are left out."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"([\w.-]+)(?:\[.*\])?\s*==\s*([^\s;]+)", line.strip())
        if match:
            found[match.group(1)] = match.group(2)
    return found


def installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def python_packages() -> Finding:
    wanted = pins(requirements())
    return judge_packages(wanted, {name: installed_version(name) for name in wanted})


def judge_packages(wanted: Mapping[str, str], installed: Mapping[str, str | None]) -> Finding:
    missing = [name for name in wanted if installed[name] is None]
    # torch 2.13.0+cpu is a build of torch 2.13.0.
    other = [
        f"{name} is {version}, not {wanted[name]}"
        for name, version in installed.items()
        if version is not None and version.split("+")[0] != wanted[name]
    ]
    faults = ([f"missing: {', '.join(missing)}"] if missing else []) + other
    if faults:
        remedy = "`make setup` installs the pinned versions."
        return Finding(FAILED if missing else WARNING, "; ".join(faults), remedy)
    return Finding(OK, f"all {len(wanted)} pinned packages have their version")


def torch() -> Finding:
    # In a process of its own: a broken torch can take its process down, and that is a finding too.
    code = (
        "import json, time; t = time.time(); import torch, torch.distributed as d;"
        "print(json.dumps([torch.__version__, d.is_available() and d.is_gloo_available(),"
        " time.time() - t]))"
    )
    try:
        done = run([sys.executable, "-c", code], timeout_s=90)
    except subprocess.TimeoutExpired:
        return Finding(FAILED, "`import torch` hung for 90 s", "`make setup` installs it afresh.")
    if done.returncode:
        said = (done.stderr.strip() or f"ended with code {done.returncode}").splitlines()[-1]
        return Finding(FAILED, one_line(f"`import torch`: {said}"), "`make setup` installs it.")
    version, gloo, took_s = json.loads(done.stdout.splitlines()[-1])
    if not gloo:
        return Finding(
            FAILED,
            f"torch {version} has no gloo: ranks can't talk to each other",
            "`make setup` installs the pinned build, which has it.",
        )
    return Finding(OK, f"{version} imports in {took_s:.1f} s")
