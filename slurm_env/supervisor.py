"""The one process that owns a running class cluster.

`workshop up` starts it inside the outer namespace. Its main thread starts and stops daemons and
answers one request at a time on a unix socket (only the owner can reach it); a second thread
offers JupyterLab at 127.0.0.1 of the machine. That works across the network namespace because the
listening socket was opened before the namespace was entered: a socket stays in the network it was
made in.

A request is one line of JSON; the answer is lines of JSON, progress first, the last one with "end".
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from slurm_env import config
from slurm_env.daemons import Daemons, Progress
from slurm_env.hosts import parse_link
from slurm_env.processes import ClusterError, run


class Supervisor:
    """Answers requests; owns the daemons and JupyterLab."""

    def __init__(self, spec: config.ClusterSpec, abilities: set[str]) -> None:
        self.spec = spec
        self.abilities = abilities
        self.daemons = Daemons(spec, dict(os.environ))
        self.stopping = False

    # --- requests: each returns what the caller prints ------------------------------------------

    def ensure(self, progress: Progress, *, jupyter: bool) -> dict[str, Any]:
        """Start everything that does not run; JupyterLab goes on starting in the background."""
        self.daemons.ensure(progress)
        if jupyter and not self.daemons.running("jupyterlab"):
            self._start_jupyter()
        return self.status(progress)

    def _start_jupyter(self) -> None:
        folder = os.environ["WORKSHOP_JUPYTER"]
        command = [sys.executable, "-P", "-m", "jupyterlab", "--config"]
        command.append(f"{folder}/config/jupyter_server_config.py")
        self.daemons.spawn("jupyterlab", command)

    def status(self, progress: Progress) -> dict[str, Any]:
        nodes = {
            name: {"power": "on" if host.running else "off", "link": asdict(host.link)}
            for name, host in self.daemons.hosts.items()
        }
        names = ["munged", "slurmctld"]
        names += ["mariadbd", "slurmdbd"] if self.spec.accounting else []
        names += ["jupyterlab"] if "jupyterlab" in self.daemons.children else []
        return {
            "mode": self.spec.mode,
            "accounting": self.spec.accounting,
            "listening": self.spec.listening,
            "abilities": sorted(self.abilities),
            "daemons": {name: self.daemons.running(name) for name in names},
            "nodes": nodes,
        }

    def node(self, progress: Progress, *, name: str, power: str) -> dict[str, Any]:
        """Switch a node off (as if its plug were pulled) or on."""
        host = self._host(name)
        if power == "off":
            host.power_off()
        else:
            self.daemons.power_on(host)
        return {}

    def link(self, progress: Progress, *, name: str, state: str) -> dict[str, Any]:
        """Set the rate of a node's cable, pull it or plug it in again."""
        host = self._host(name)
        if not self.spec.sealed:
            raise ValueError(
                "loopback mode has no cables: every node is this machine itself. "
                "`workshop status` says why this mode was chosen"
            )
        field, value = parse_link(state)
        need = {"latency": "netem", "rate": "tbf"}.get(field)
        if need and need not in self.abilities and value != "none":
            raise ValueError(
                f"this machine's kernel has no {need}, so a link's {field} can't be set"
            )
        before = asdict(host.link)
        if field == "cut":
            host.link.cut = value == "cut"
        elif value == "none":
            host.link.rate = host.link.latency = "none"
        else:
            setattr(host.link, field, value)
        try:
            host.apply_link()
        except ValueError:
            host.link.__init__(**before)
            host.apply_link()
            raise
        return {}

    def down(self, progress: Progress) -> dict[str, Any]:
        self.daemons.stop_one("jupyterlab")
        self.daemons.stop(progress)
        self.stopping = True
        return {}

    def _host(self, name: str):
        if name not in self.daemons.hosts:
            raise ValueError(f"no node {name!r}: there are {', '.join(self.daemons.hosts)}")
        return self.daemons.hosts[name]

    # --- the control socket ---------------------------------------------------------------------

    def serve(self, control: Path) -> None:
        """Answer requests, one at a time, until `down`."""
        unready = control.with_suffix(".new")
        unready.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(unready))
            listener.listen(16)
            unready.rename(control)  # who sees it may connect
            while not self.stopping:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(10)
                    try:
                        self._answer(connection)
                    except (OSError, ValueError, TypeError, KeyError):
                        # The caller went away or sent no request: the class goes on.
                        print(traceback.format_exc(), flush=True)
        control.unlink(missing_ok=True)

    def _answer(self, connection: socket.socket) -> None:
        with connection.makefile("r") as lines:
            request = json.loads(lines.readline())

        def send(**message: Any) -> None:
            try:
                connection.sendall((json.dumps(message) + "\n").encode())
            except OSError:  # Ctrl-C at the other end; what was asked for is still done
                print(f"nobody listens any more: {message}", flush=True)

        started = time.monotonic()
        print(f"request {request}", flush=True)

        def progress(text: str) -> None:
            print(f"  {time.monotonic() - started:.2f} s {text}", flush=True)
            send(progress=text, after_s=time.monotonic() - started)

        actions: dict[str, Callable[..., dict]] = {
            action.__name__: action
            for action in (self.ensure, self.status, self.node, self.link, self.down)
        }
        do = request.pop("do")
        try:
            if do not in actions:
                raise ValueError(f"this cluster was started by another version: no {do!r} in it")
            action = actions[do]
            send(end=True, ok=True, result=action(progress, **request))
        except (ClusterError, ValueError) as error:
            print(f"refused: {error}", flush=True)
            send(end=True, ok=False, error=str(error))
        except Exception as error:
            # A fault of ours: the story into the log, its place to the caller.
            print(traceback.format_exc(), flush=True)
            log = self.spec.logs / "supervisor.log"
            send(end=True, ok=False, error=f"{type(error).__name__}: {error}. Log: {log}")


# --- JupyterLab offered outside -----------------------------------------------------------------


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return
    finally:
        writer.close()


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, give_up_s: float = 60
) -> None:
    """Join one connection to JupyterLab; while that is still starting, the browser simply waits."""
    end = time.monotonic() + give_up_s
    while True:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except OSError:
            if time.monotonic() > end:
                writer.close()
                return
            await asyncio.sleep(0.1)
    await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))


def offer_jupyter(listener: socket.socket, port: int) -> None:
    """Pass every connection on `listener` to 127.0.0.1:`port` of this network. Runs for ever."""

    async def main() -> None:
        server = await asyncio.start_server(lambda r, w: _forward(r, w, port), sock=listener)
        await server.serve_forever()

    asyncio.run(main())


# --- start --------------------------------------------------------------------------------------


def _reap_as_process_1() -> None:
    """In a pid namespace this is process 1: leave the work to a child and collect every orphan."""
    if os.getpid() != 1:
        return
    child = os.fork()
    if child == 0:
        return
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m slurm_env.supervisor")
    parser.add_argument("--spec", type=json.loads, required=True, help="ClusterSpec as JSON")
    parser.add_argument("--abilities", default="", help="what probe_machine found, comma-separated")
    parser.add_argument("--listener", type=int, help="file descriptor of the socket for JupyterLab")
    parser.add_argument("--jupyter-port", type=int, default=config.JUPYTER_PORT_INSIDE)
    args = parser.parse_args()
    # A shell script's background command ignores these, and so would every terminal inside.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    _reap_as_process_1()
    lists = {name: tuple(args.spec[name]) for name in ("slurmd_ports", "slurm_version")}
    spec = config.ClusterSpec(**args.spec | lists)
    if spec.sealed:
        run(["hostname", "head"], check=True)
        run(["mount", "--bind", f"{spec.root}/etc/hosts", "/etc/hosts"], check=True)
        run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", "/dev/shm"], check=True)
    if args.listener is not None:
        listener = socket.socket(fileno=args.listener)
        offer = threading.Thread(
            target=offer_jupyter, args=(listener, args.jupyter_port), daemon=True
        )
        offer.start()
    supervisor = Supervisor(spec, set(args.abilities.split(",")) - {""})
    supervisor.serve(Path(spec.root).parent / "control.sock")


if __name__ == "__main__":
    main()
