"""Hosts out of Linux namespaces, and what this machine allows of them.

A host is a process tree with its own network, host name, process list, /dev/shm and scratch folder,
joined to the others by a virtual cable (veth) into a bridge. Three modes, best first:

  rootless   an ordinary user makes a user namespace and builds the whole cluster inside it
  root       the same without the user namespace
  loopback   no namespaces allowed: every daemon runs on the machine itself, at its own address

The functions below run either before the cluster exists (`probe_machine`) or inside its outer
namespace, where the supervisor has the right to use ip, tc and mount.
"""

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from slurm_env import config
from slurm_env.processes import kill_marked, run, wait_until

MODES = ("rootless", "root", "loopback")
HOST_INIT = Path(__file__).with_name("host_init.sh")
_INNER = "--mount --uts --ipc --pid --fork --kill-child --mount-proc".split()

# One line per ability, so that a single start of `unshare` (30 ms) answers everything.
_PROBE = """
ip link set lo up && ip link add wsprobe type bridge && echo bridge
ip link add wsveth type veth peer name wspeer && echo veth
tc qdisc add dev wsveth root tbf rate 1gbit burst 256kb latency 20ms && echo tbf
tc qdisc del dev wsveth root; tc qdisc add dev wsveth root netem delay 1ms && echo netem
mount -t tmpfs tmpfs /dev/shm && echo mount
"""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What this machine allows, as found by trying."""

    mode: str
    why: str
    """Why it is this mode, in a sentence for `workshop status`."""
    abilities: frozenset[str] = frozenset()
    """Subset of bridge, veth, tbf (link rate), netem (link latency), mount."""


def unshare_command(mode: str) -> list[str]:
    """Give the command that opens the outer namespace of a sealed mode."""
    if mode == "rootless":
        # The uid stays the user's own (not 0): slurmstepd as uid 0 would call setgroups, which an
        # unprivileged user namespace denies. Capabilities are kept for ip, tc and mount.
        return ["unshare", "--user", "--map-current-user", "--keep-caps", "--net", *_INNER, "--"]
    return ["unshare", "--net", *_INNER, "--"]


def probe_machine(forced: str | None = None) -> Machine:
    """Find the best mode that works here.

    Raises:
        ValueError: `forced` (from WORKSHOP_MODE) is unknown or doesn't work here.
    """
    best = "root" if os.geteuid() == 0 else "rootless"
    if forced and forced not in MODES:
        raise ValueError(f"WORKSHOP_MODE={forced}: choose one of {', '.join(MODES)}")
    if forced == "loopback":
        return Machine(mode="loopback", why="WORKSHOP_MODE=loopback asked for it")
    if forced == "root" and best != "root":
        raise ValueError("WORKSHOP_MODE=root needs root; leave it unset to use rootless namespaces")
    mode = forced or best
    found, trouble = _try_namespaces(mode)
    if {"bridge", "veth", "mount"} <= found:
        who = {"root": "root may make namespaces", "rootless": "users may make namespaces"}[mode]
        return Machine(mode=mode, why=f"{who} on this machine", abilities=frozenset(found))
    if forced:
        raise ValueError(f"WORKSHOP_MODE={forced} does not work here: {trouble}")
    return Machine(mode="loopback", why=f"namespaces are not allowed here ({trouble})")


def _try_namespaces(mode: str) -> tuple[set[str], str]:
    try:
        done = run([*unshare_command(mode), "sh", "-c", _PROBE], timeout_s=10)
    except OSError as error:
        return set(), str(error)
    return set(done.stdout.split()), (done.stderr.strip().splitlines() or ["no reason given"])[0]


def build_switch() -> None:
    """Build the bridge that every host's cable ends in, with the login node's address on it."""
    for line in (
        "ip link set lo up",
        "ip link add br0 type bridge",
        f"ip addr add {config.HEAD_ADDRESS}/24 dev br0",
        "ip link set br0 up",
    ):
        run(shlex.split(line), check=True)


@dataclass
class Link:
    """The state of one node's cable, kept while the node is off."""

    rate: str = "none"
    """none, or a rate as tc writes it: 100mbit, 1gbit."""
    latency: str = "none"
    cut: bool = False


@dataclass
class Host:
    """One compute node: its process tree and its cable. Owned by the supervisor."""

    name: str
    spec: config.ClusterSpec
    link: Link = field(default_factory=Link)
    process: subprocess.Popen | None = None
    ran_before: bool = False

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> Path:
        return self.spec.logs / f"{self.name}.log"

    @property
    def port_name(self) -> str:
        """The bridge's end of the cable."""
        return f"ws-{self.name}"

    def power_on(self, environment: dict[str, str]) -> None:
        """Start the host, which is off, and plug its cable in; returns before slurmd registers."""
        # A host that boots forgets: a job id used again after a crash must not meet the credential
        # that slurmd revoked for its first bearer.
        spool = Path(self.spec.root, "spool", self.name)
        shutil.rmtree(spool, ignore_errors=True)
        spool.mkdir()
        address = config.node_address(self.name) if self.spec.sealed else "none"
        command = ["bash", str(HOST_INIT), self.spec.mode, self.name, address, self.spec.root]
        # No namespace ends a loopback host with its supervisor, so the kernel is asked to.
        wrapper = (
            ["unshare", "--net", *_INNER]
            if self.spec.sealed
            else ["setpriv", "--pdeathsig", "KILL"]
        )
        command = [*wrapper, "--", *command]
        self.ran_before = True
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env=environment | {"WORKSHOP_HOST": self.name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if self.spec.sealed:
            self._plug_in(self.process)

    def _plug_in(self, process: subprocess.Popen) -> None:
        own = os.readlink("/proc/self/ns/net")
        network = f"/proc/{process.pid}/ns/net"
        wait_until(
            lambda: process.poll() is not None or os.readlink(network) != own,
            timeout_s=10,
            what=f"{self.name} to open its network",
            log=self.log,
        )
        # A cable left by a host that was switched off a moment ago goes first.
        run(["ip", "link", "del", self.port_name])
        cable = f"ip link add {self.port_name} type veth peer name eth0 netns {process.pid}"
        run(shlex.split(cable), check=True)
        run(shlex.split(f"ip link set {self.port_name} master br0"), check=True)
        self.apply_link()

    def apply_link(self) -> None:
        """Bring the cable into the state that `self.link` says.

        Raises:
            ValueError: tc refused the rate or the latency.
        """
        if not (self.spec.sealed and self.process and self.running):
            return
        inside = ["nsenter", f"--net=/proc/{self.process.pid}/ns/net"]
        shape = shaping(self.link)
        for prefix, device in (([], self.port_name), (inside, "eth0")):
            run([*prefix, "tc", "qdisc", "del", "dev", device, "root"])
            if shape:
                done = run([*prefix, "tc", "qdisc", "add", "dev", device, "root", *shape])
                if done.returncode:
                    raise ValueError(f"tc refused {' '.join(shape)}: {done.stderr.strip()}")
        run(["ip", "link", "set", self.port_name, "down" if self.link.cut else "up"], check=True)

    def power_off(self) -> None:
        """Cut the power: every process of the host is gone at once, nothing is told to SLURM."""
        if self.process is None:
            return
        if not self.spec.sealed:
            marks = {"WORKSHOP_CLUSTER": self.spec.root, "WORKSHOP_HOST": self.name}
            kill_marked(marks, f"{os.path.realpath(self.spec.root)}/log/slurmd-{self.name}.log")
        # Sealed: --kill-child takes the host's process 1 along, and with it every other.
        self.process.kill()
        self.process.wait(timeout=10)
        self.process = None


def shaping(link: Link) -> list[str]:
    """Give tc's words for a link, or nothing for an open one."""
    if link.latency != "none":
        rate = [] if link.rate == "none" else ["rate", link.rate]
        return ["netem", "delay", link.latency, *rate]
    if link.rate == "none":
        return []
    return ["tbf", "rate", link.rate, "burst", "256kb", "latency", "20ms"]


def parse_link(words: str) -> tuple[str, str]:
    """Sort what a user said of a link into (field, value) of `Link`.

    Raises:
        ValueError: it is neither a rate, nor a latency, nor none, cut or join.
    """
    if words in ("cut", "join"):
        return "cut", words
    if words == "none" or re.fullmatch(r"[1-9]\d*(kbit|mbit|gbit)", words):
        return "rate", words
    if re.fullmatch(r"\d+(ms|us)", words):
        return "latency", words
    raise ValueError(
        f"{words!r} is no link state: use a rate (100mbit, 1gbit), none, cut, join, "
        "or a latency (5ms) where the kernel has netem"
    )
