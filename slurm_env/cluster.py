"""Up, down, status and entering of the class cluster, as seen from outside.

The cluster is whatever its supervisor owns (supervisor.py); this module starts that one process,
talks to it over its control socket, and knows how to get inside. The state that outlives it is in
the base folder (mode 700): cluster/ (configuration, logs, queue, accounts), jupyter/, workspace/.
"""

import fcntl
import hashlib
import json
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from course_lib.places import base_dir, workspace_dir
from slurm_env import config, daemons, notebooks
from slurm_env.hosts import Machine, probe_machine, unshare_command
from slurm_env.processes import (
    ClusterError,
    alive,
    first_child,
    kill_marked,
    last_lines,
    start_time,
    wait_until,
)

Progress = Callable[[str, float], None]
NOT_RUNNING = "the class cluster is not running: start it with `workshop up`"
_FOREIGN = "{} belongs to another user: set WORKSHOP_BASE to a folder of yours"


class NotListening(ClusterError):
    """Nobody listens on the control socket."""


def cluster_dir() -> Path:
    return base_dir() / "cluster"


def short_dir() -> Path:
    """A short folder for sockets, mode 700; its name follows from user and base folder."""
    key = hashlib.sha256(str(base_dir()).encode()).hexdigest()[:8]
    # Not TMPDIR: a terminal where that is set otherwise must find the same cluster.
    return Path("/tmp") / f"workshop-{os.geteuid()}-{key}"


def user_name() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def inside() -> bool:
    """Whether this process already runs on the login node."""
    return os.environ.get("WORKSHOP_INSIDE") == "1"


def environment_inside() -> dict[str, str]:
    """Environment of every process on the login node: daemons, shells, JupyterLab, kernels."""
    root = short_dir() / "c"
    jupyter = base_dir() / "jupyter"
    own = {
        "WORKSHOP_INSIDE": "1",
        "USER": user_name(),
        "LOGNAME": user_name(),
        "WORKSHOP_BASE": str(base_dir()),
        "WORKSHOP_CLUSTER": str(root),
        "WORKSHOP_JUPYTER": str(jupyter),
        "SLURM_CONF": f"{root}/etc/slurm.conf",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        # The learner's own Jupyter settings are neither read nor changed.
        "JUPYTER_CONFIG_DIR": f"{jupyter}/config",
        "JUPYTER_DATA_DIR": f"{jupyter}/data",
        "JUPYTER_RUNTIME_DIR": f"{jupyter}/runtime",
        "JUPYTERLAB_SETTINGS_DIR": f"{jupyter}/lab/settings",
        "JUPYTERLAB_WORKSPACES_DIR": f"{jupyter}/lab/workspaces",
        "IPYTHONDIR": f"{jupyter}/ipython",
    }
    # A leftover of another SLURM job (or cluster) would steer every srun given here.
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SQUEUE_"))
    }
    return kept | own


# --- the running supervisor ---------------------------------------------------------------------


def _record() -> dict[str, Any] | None:
    try:
        return json.loads((cluster_dir() / "supervisor.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    except PermissionError:
        raise ClusterError(_FOREIGN.format(base_dir())) from None


def running() -> dict[str, Any] | None:
    """Give the record of the running supervisor, or None."""
    record = _record()
    if record is None:
        return None
    if inside():  # another process list: ask the socket instead
        return record if (short_dir() / "control.sock").exists() else None
    return record if alive(record["pid"], record["started"]) else None


def request(
    do: str, *, progress: Progress | None = None, timeout_s: float = 150, **words: Any
) -> Any:
    """Ask the supervisor for something and give its answer.

    Raises:
        ClusterError: no cluster runs, it doesn't answer, or it says no.
    """
    control = short_dir() / "control.sock"
    log = cluster_dir() / "log" / "supervisor.log"
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(control))
            connection.sendall((json.dumps({"do": do, **words}) + "\n").encode())
            with connection.makefile("r") as lines:
                for line in lines:
                    message = json.loads(line)
                    if message.get("end"):
                        if message["ok"]:
                            return message["result"]
                        raise ClusterError(message["error"])
                    if progress:
                        progress(message["progress"], message["after_s"])
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotListening(NOT_RUNNING) from None
    except TimeoutError:
        raise ClusterError(
            f"the supervisor gave no answer in {timeout_s:.0f} s. Log: {log}. Remedy: try again "
            "later, or `workshop down` and `workshop up`"
        ) from None
    except OSError as error:
        raise ClusterError(f"talking to the supervisor failed: {error}. Log: {log}") from None
    raise ClusterError(f"the supervisor ended while it answered. Log: {log}\n{last_lines(log)}")


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Let one `up` or `down` of this base folder run at a time; others wait, at most 120 s."""
    base = base_dir()
    base.mkdir(parents=True, exist_ok=True)
    if base.stat().st_uid != os.geteuid():
        raise ClusterError(_FOREIGN.format(base))
    base.chmod(0o700)
    cluster_dir().mkdir(mode=0o700, exist_ok=True)
    with (cluster_dir() / "lock").open("w") as lock:
        end = time.monotonic() + 120
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise ClusterError(
                        f"another `workshop up` or `down` has held {lock.name} for 120 s: "
                        "look for it with `ps`, end it, and try again"
                    ) from None
                time.sleep(0.05)
        yield


# --- up -----------------------------------------------------------------------------------------


def up(
    *, nodes: int | None, accounting: bool | None, jupyter: bool, progress: Progress
) -> dict[str, Any]:
    """Start the cluster, or mend the running one.

    Raises:
        ClusterError, ValueError: with what failed, the log and the remedy.
    """
    if inside():
        raise ClusterError("this is the login node: `workshop up` is for the machine outside")
    with _one_at_a_time():
        record = running()
        if record:
            for name, wanted in (("nodes", nodes), ("accounting", accounting)):
                if wanted is not None and wanted != record["spec"][name]:
                    raise ClusterError(
                        f"the cluster runs with {name} = {record['spec'][name]}, not {wanted}: "
                        "`workshop down` first, then `workshop up` again"
                    )
            try:
                # A busy supervisor is waited for; one that listens no more is replaced.
                result = request("ensure", progress=progress, timeout_s=300, jupyter=jupyter)
                return result | {"fresh": False, "why": record["why"]}
            except NotListening:
                progress("the old supervisor listens no more: starting afresh", 0.0)
        notebooks.copy_workspace()
        _clean_up_after_crash()
        record = _start_supervisor(4 if nodes is None else nodes, accounting, progress)
        result = request("ensure", progress=progress, timeout_s=300, jupyter=jupyter)
        return result | {"fresh": True, "why": record["why"]}


def _start_supervisor(nodes: int, accounting: bool | None, progress: Progress) -> dict[str, Any]:
    version, database = daemons.find_slurm()
    if accounting is None or accounting:
        if not database:
            line = "sudo apt-get install -y --no-install-recommends slurmdbd mariadb-server"
            progress(f"no accounting: slurmdbd or MariaDB is missing ({line})", 0.0)
        accounting = database
    machine = probe_machine(os.environ.get("WORKSHOP_MODE"))
    spec = _spec(machine, nodes, accounting, version)
    short = short_dir()
    short.mkdir(mode=0o700, exist_ok=True)
    if short.is_symlink() or short.stat().st_uid != os.geteuid():
        raise ClusterError(f"{short} belongs to another user: set WORKSHOP_BASE to another folder")
    short.chmod(0o700)
    link = short / "c"
    link.unlink(missing_ok=True)
    link.symlink_to(cluster_dir())
    daemons.write_configuration(spec)

    listener = notebooks.open_listener((_record() or {}).get("jupyter_port", 0))
    inner_port = config.JUPYTER_PORT_INSIDE if spec.sealed else _free_port()
    notebooks.write_settings(inner_port)
    log = cluster_dir() / "log" / "supervisor.log"
    # -P: no file of the working folder, such as a learner's random.py, stands in for a module.
    command = [sys.executable, "-P", "-m", "slurm_env.supervisor"]
    command += ["--spec", json.dumps(asdict(spec))]
    command += ["--abilities", ",".join(sorted(machine.abilities))]
    command += ["--listener", str(listener.fileno()), "--jupyter-port", str(inner_port)]
    if spec.sealed:
        command = [*unshare_command(spec.mode), *command]
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            env=environment_inside(),
            cwd=workspace_dir(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            pass_fds=[listener.fileno()],
        )
    control = short / "control.sock"
    record = {
        "pid": process.pid,
        "started": start_time(process.pid),
        "mode": spec.mode,
        "why": machine.why,
        "spec": asdict(spec),
        "jupyter_port": listener.getsockname()[1],
    }
    listener.close()
    notebooks.write_private(cluster_dir() / "supervisor.json", json.dumps(record, indent=1))
    wait_until(
        lambda: process.poll() is not None or control.exists(),
        timeout_s=20,
        what="the supervisor to answer",
        log=log,
    )
    if process.poll() is not None:
        raise ClusterError(
            f"the supervisor ended with code {process.returncode}. Log: {log}\n{last_lines(log)}"
        )
    progress(f"{spec.mode} mode: {machine.why}", 0.0)
    return record


def _spec(machine: Machine, nodes: int, accounting: bool, version: tuple[int, int]):
    sealed = machine.mode != "loopback"
    on_host = {} if sealed else _loopback_facts(nodes)
    return config.ClusterSpec(
        mode=machine.mode,
        root=str(short_dir() / "c"),
        user=user_name(),
        nodes=nodes,
        accounting=accounting,
        slurm_version=version,
        **on_host,
    )


def _loopback_facts(nodes: int) -> dict[str, Any]:
    """Name, address and free ports of this machine, which is every host of loopback mode."""
    name = socket.gethostname()
    try:
        address = socket.getaddrinfo(name, None, socket.AF_INET)[0][4][0]
    except OSError:
        raise ClusterError(
            f"this machine's own name, {name}, has no address, and SLURM needs one. "
            f"Remedy, as root: echo '127.0.1.1 {name}' >> /etc/hosts"
        ) from None
    ports = [_free_port() for _ in range(nodes + 2)]
    return {
        "hostname": name,
        "loopback_address": address,
        "slurmctld_port": ports[0],
        "slurmdbd_port": ports[1],
        "slurmd_ports": tuple(ports[2:]),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def jupyter_link(page: str | None = None) -> str | None:
    """Give the link to JupyterLab with its token, to start_here unless told; None if none runs."""
    record = running()
    token = base_dir() / "jupyter" / "token"
    if record is None or not token.exists():
        return None
    page = page or notebooks.start_page()
    return f"http://127.0.0.1:{record['jupyter_port']}{page}?token={token.read_text()}"


# --- down ---------------------------------------------------------------------------------------


def down(progress: Progress) -> bool:
    """Stop the cluster and everything it started; return whether one was running."""
    if inside():
        raise ClusterError("this is the login node: `workshop down` is for the machine outside")
    if not cluster_dir().exists():
        return False
    with _one_at_a_time():
        record = running()
        if record:
            try:
                request("down", progress=progress, timeout_s=30)
                _wait_for_end(record)
            except ClusterError as error:
                progress(f"no orderly stop ({error}): killing it", 0.0)
        _clean_up_after_crash()
        return record is not None


def _kill(record: dict[str, Any]) -> None:
    """Kill a supervisor; in a sealed mode its namespace, and so the whole cluster, goes with it."""
    if alive(record["pid"], record["started"]):
        with suppress(ProcessLookupError):
            os.kill(record["pid"], signal.SIGKILL)
        _wait_for_end(record)


def _wait_for_end(record: dict[str, Any]) -> None:
    wait_until(
        lambda: not alive(record["pid"], record["started"]),
        timeout_s=10,
        what="the supervisor to end",
        log=cluster_dir() / "log" / "supervisor.log",
    )


def _clean_up_after_crash() -> None:
    """Leave no process and no socket of an earlier life, however it ended."""
    record = _record()
    if record:
        _kill(record)
    logs = f"{os.path.realpath(cluster_dir())}/log/slurmd-*.log"
    kill_marked({"WORKSHOP_CLUSTER": str(short_dir() / "c")}, logs)
    for path in (cluster_dir() / "spool").glob("*/*"):  # of steps that were killed as they began
        if path.is_socket():
            path.unlink(missing_ok=True)
    if short_dir().is_dir() and short_dir().stat().st_uid == os.geteuid():
        shutil.rmtree(short_dir())


# --- inside -------------------------------------------------------------------------------------


def enter_command() -> list[str]:
    """Give the words that, put before a command, run it on the login node.

    Raises:
        ClusterError: no cluster runs.
    """
    record = running()
    if record is None:
        raise ClusterError(NOT_RUNNING)
    if inside() or record["mode"] == "loopback":
        return []
    process_1 = first_child(record["pid"])
    if process_1 is None:
        raise ClusterError("the cluster's outer process has ended: run `workshop up`")
    user = ["-U", "--preserve-credentials"] if record["mode"] == "rootless" else []
    return ["nsenter", "-t", str(process_1), *user, "-n", "-m", "-u", "-i", "-p", "--"]


def shell_command(command: str | None) -> list[str]:
    """Give the full command of `workshop shell [-c COMMAND]`; a shell starts in the workspace."""
    # Entering a mount namespace moves to its root folder, so the working folder is set after it.
    try:
        folder = str(workspace_dir()) if command is None else os.getcwd()
    except FileNotFoundError:  # the caller's folder has been removed
        folder = str(workspace_dir())
    words = ["bash", "-c", 'cd "$1" && shift && exec "$@"', "workshop", folder]
    if command is None:
        rcfile = cluster_dir() / "etc" / "bashrc"
        rcfile.write_text(
            "[ -f ~/.bashrc ] && . ~/.bashrc\n"
            f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH\n"
            r"PS1='\u@\h:\w\$ '" + "\n"
        )
        return [*enter_command(), *words, "bash", "--rcfile", str(rcfile), "-i"]
    return [*enter_command(), *words, "bash", "-c", command]
