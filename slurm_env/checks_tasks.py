"""Checks that run small jobs on the nodes with srun, as a learner would.

Each job is named `doctor`, takes one CPU of a node and gives up where the queue makes it wait. What
the tasks print goes through pure `read_` and `judge_` functions.
"""

import json
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence

from slurm_env import config
from slurm_env.checks import FAILED, OK, SKIPPED, WARNING, Check, Finding, Trouble, one_line
from slurm_env.checks_cluster import ask, needs_cluster, node_states, supervisor_state
from slurm_env.daemons import node_answers
from slurm_env.processes import ClusterError

MUNGE_REFUSES_S = 300


def task_checks(spec: config.ClusterSpec | None) -> list[Check]:
    """Give the checks that may run beside others."""
    return [
        needs_cluster("srun on every node", srun, spec),
        needs_cluster("node names", node_names, spec),
        needs_cluster("clock", clock, spec),
    ]


def measuring_checks(spec: config.ClusterSpec | None) -> list[Check]:
    """Give the check that wants the machine to itself."""
    return [needs_cluster("all-reduce, two nodes", all_reduce, spec, limit_s=160)]


def usable_nodes(at_least: int = 1) -> list[str]:
    """Names of the nodes that a task can reach now.

    SLURM notices a dead node only after seconds; the supervisor knows at once what it switched off.

    Raises:
        Trouble: there are too few of them.
    """
    states, hosts = node_states(), supervisor_state()["nodes"]
    usable = [
        name
        for name, host in hosts.items()
        if host["power"] == "on"
        and not host["link"]["cut"]
        and node_answers(state := states.get(name, "unknown"))
        and "drain" not in state
    ]
    if len(usable) < at_least:
        found = f"nodes that can be used: {len(usable)}, wanted: {at_least}"
        remedy = "See `nodes`; a larger class starts with `workshop up --nodes 4`."
        raise Trouble(Finding(SKIPPED, found, remedy))
    return usable


def on_nodes(names: Sequence[str], line: str, timeout_s: int = 20, memory_mb: int = 100) -> str:
    """Run a line once on each node with srun and give what it prints.

    Raises:
        Trouble: srun failed; says why.
    """
    options = f"--nodes={len(names)} --ntasks={len(names)} --nodelist={','.join(names)} "
    options += f"--mem={memory_mb} --time=3 --immediate=10 --job-name=doctor --kill-on-bad-exit=1"
    done = ask(f"srun {options} bash -c {shlex.quote(line)}", timeout_s)
    if done.returncode:
        raise Trouble(explain_srun(done.returncode, done.stderr, timeout_s))
    return done.stdout


def explain_srun(code: int, stderr: str, timeout_s: float) -> Finding:
    """Say in the learner's words why srun did not work."""
    if re.search(r"busy|Immediate execution impossible|job pending", stderr, re.IGNORECASE):
        found = "the nodes are busy with other jobs"
        return Finding(WARNING, found, "Run the doctor again when `squeue` shows fewer jobs.")
    if code == 124:
        remedy = (
            "Find the silent node (`srun -w node1 hostname`, and so on); then `workshop node off` "
            "and `workshop node on` for it."
        )
        return Finding(FAILED, f"srun gave no answer in {timeout_s:g} s", remedy)
    lines = [line for line in stderr.splitlines() if line.strip()]
    # The program's own last words say more than srun's report that it failed; but srun ends the
    # other ranks in the middle of theirs, so a whole Python error comes before a cut one.
    own = [line for line in lines if not line.startswith(("srun:", "slurmstepd:"))]
    errors = [line for line in own if re.match(r"[\w.]*(Error|Exception)\b", line)]
    said = (errors or own or lines or ["it said nothing"])[-1]
    remedy = "The log of the node tells more: cluster/log/slurmd-NODE.log in the base folder."
    if "ModuleNotFoundError" in said:
        remedy = "`make setup` installs it; then start the doctor from .venv/bin/workshop."
    return Finding(FAILED, one_line(f"srun ended with code {code}: {said}"), remedy)


def srun(spec: config.ClusterSpec) -> Finding:
    usable = usable_nodes()
    start = time.monotonic()
    answered = on_nodes(usable, 'echo "$SLURMD_NODENAME"').split()
    return judge_srun(spec.node_names, answered, time.monotonic() - start)


def judge_srun(wanted: Sequence[str], answered: Sequence[str], took_s: float) -> Finding:
    silent = [name for name in wanted if name not in answered]
    if silent:
        found = f"a task ran on {', '.join(sorted(answered))}, none on {', '.join(silent)}"
        return Finding(WARNING, found, "See `nodes`, which names the remedy for each.")
    return Finding(OK, f"a task ran on {len(wanted)} of {len(wanted)} nodes in {took_s:.1f} s")


def node_names(spec: config.ClusterSpec) -> Finding:
    names = ["head", *spec.node_names]
    line = (
        f"echo $SLURMD_NODENAME $(for name in {' '.join(names)}; do "
        "echo $name=$(getent ahostsv4 $name | head -1 | cut -d' ' -f1); done)"
    )
    said = on_nodes(usable_nodes(), line)
    return judge_node_names(read_node_names(said), spec)


def read_node_names(text: str) -> dict[str, dict[str, str]]:
    """Read lines `node1 head=10.77.0.1 node2=`: asker -> name -> address, empty if unknown."""
    table = {}
    for line in text.splitlines():
        asker, *answers = line.split()
        table[asker] = dict(answer.split("=", 1) for answer in answers)
    return table


def judge_node_names(table: Mapping[str, Mapping[str, str]], spec: config.ClusterSpec) -> Finding:
    if not spec.sealed:
        return Finding(
            OK,
            "loopback mode: every node is this machine, and their names need not resolve "
            "(jobs ask SLURM for the address)",
        )
    addresses = {name: config.node_address(name) for name in spec.node_names}
    addresses["head"] = config.HEAD_ADDRESS
    wrong = [
        f"on {asker} {name} is {answers.get(name) or 'unknown'}"
        for asker, answers in table.items()
        for name, address in addresses.items()
        if answers.get(name) != address
    ]
    if wrong:
        remedy = "`workshop down` and `workshop up` write the nodes' /etc/hosts afresh."
        return Finding(FAILED, one_line("; ".join(wrong)), remedy)
    return Finding(OK, f"every node knows the addresses of all; asked: {', '.join(sorted(table))}")


def clock(spec: config.ClusterSpec) -> Finding:
    before = time.time()
    lines = on_nodes(usable_nodes(), 'echo "$SLURMD_NODENAME $(date +%s.%N)"').splitlines()
    after = time.time()
    return judge_clock({name: float(s) for name, s in map(str.split, lines)}, before, after)


def judge_clock(times_s: Mapping[str, float], before_s: float, after_s: float) -> Finding:
    """A node asked between two looks at our clock should name a time between them."""
    skews = {name: max(before_s - t, t - after_s, 0.0) for name, t in times_s.items()}
    name = max(skews, key=lambda name: skews[name])
    skew_s = skews[name]
    if skew_s > 1:
        found = f"{name} is {skew_s:.0f} s off; munge refuses {MUNGE_REFUSES_S} s"
        remedy = "Set the machine's clock (`sudo timedatectl set-ntp true`), then `workshop up`."
        return Finding(FAILED if skew_s >= MUNGE_REFUSES_S else WARNING, found, remedy)
    return Finding(OK, f"{', '.join(sorted(times_s))} and head agree to {after_s - before_s:.1f} s")


def all_reduce(spec: config.ClusterSpec) -> Finding:
    first, second = usable_nodes(at_least=2)[:2]
    program = f"{shlex.quote(sys.executable)} -m slurm_env.allreduce --seconds 2"
    said = on_nodes([first, second], program, timeout_s=90, memory_mb=900)
    state = supervisor_state()["nodes"]
    limits = [state[name]["link"]["rate"] for name in (first, second)]
    try:
        measured = json.loads(said.splitlines()[-1])["bandwidth_bytes_per_s"]
    except (IndexError, ValueError, KeyError):
        raise ClusterError(f"the all-reduce printed no result: {one_line(said)!r}") from None
    return judge_all_reduce(measured, limits, f"{first} and {second}")


def rate_bytes_per_s(rate: str) -> float:
    """Bytes per second of tc's `100mbit`; no limit is infinite."""
    if rate == "none":
        return float("inf")
    number, unit = re.fullmatch(r"(\d+)([kmg])bit", rate).groups()  # pyright: ignore
    return int(number) * {"k": 1e3, "m": 1e6, "g": 1e9}[unit] / 8


def judge_all_reduce(measured_bytes_per_s: float, limits: Sequence[str], where: str) -> Finding:
    limit = min(limits, key=rate_bytes_per_s)
    limit_bytes_per_s = rate_bytes_per_s(limit)
    found = f"{measured_bytes_per_s / 1e6:.1f} MB/s between {where}"
    if limit == "none":
        if measured_bytes_per_s >= 50e6:
            return Finding(OK, f"{found}, no link limit")
        return Finding(
            WARNING,
            f"{found}, though no link is limited",
            "Something else keeps the cores busy (`top`): measure again when it is done.",
        )
    found += f", link limit {limit} = {limit_bytes_per_s / 1e6:.1f} MB/s"
    ratio = measured_bytes_per_s / limit_bytes_per_s
    # Headers cost 5 %; beyond 1 Gbit/s the cores, not the link, are what is measured.
    if ratio <= 1.1 and (ratio >= 0.75 or limit_bytes_per_s > 125e6):
        return Finding(OK, found)
    remedy = "`workshop link NODE none`, set the rate again, and measure when the machine is idle."
    return Finding(WARNING, found, remedy)
