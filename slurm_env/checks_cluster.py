"""Checks of the running class cluster as seen from the login node: does each part answer?

Every command runs under `timeout` *inside*: ending the nsenter that entered a process namespace
would leave what it started there alive. Deciding is left to pure `judge_` functions.
"""

import re
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

from slurm_env import cluster, config
from slurm_env.checks import FAILED, OK, SKIPPED, WARNING, Check, Finding, Trouble, one_line
from slurm_env.daemons import node_answers
from slurm_env.processes import ClusterError, fetch_local, run

NOT_RUNNING = Finding(
    SKIPPED, "the class cluster is not running (workshop up)", "`workshop up` starts it."
)
ClusterLook = Callable[[config.ClusterSpec], Finding]


def cluster_checks(spec: config.ClusterSpec | None) -> list[Check]:
    """Give the checks of the cluster's parts; None stands for a cluster that isn't running."""
    return [
        needs_cluster("daemons", daemons, spec),
        needs_cluster("nodes", nodes, spec),
        needs_cluster("munge", munge, spec),
        needs_cluster("accounting", accounting, spec),
        needs_cluster("JupyterLab", jupyter, spec),
    ]


def needs_cluster(
    name: str, look: ClusterLook, spec: config.ClusterSpec | None, limit_s: float = 75
) -> Check:
    """Make a check that says it was skipped where no cluster runs."""
    return Check(name, lambda: look(spec) if spec else NOT_RUNNING, limit_s)


def running_spec(record: Mapping[str, Any] | None) -> config.ClusterSpec | None:
    """Read the running cluster's spec from its record; JSON has made lists of the tuples."""
    if record is None:
        return None
    lists = {name: tuple(record["spec"][name]) for name in ("slurmd_ports", "slurm_version")}
    return config.ClusterSpec(**record["spec"] | lists)


def supervisor_state() -> dict[str, Any]:
    """What the supervisor knows of its cluster.

    Raises:
        Trouble: it does not answer; `daemons` is the check that calls this a failure.
    """
    try:
        return cluster.request("status", timeout_s=10)
    except ClusterError:
        found, remedy = "the supervisor does not answer", "See `daemons`, which names the remedy."
        raise Trouble(Finding(SKIPPED, found, remedy)) from None


def ask(line: str, timeout_s: int = 15) -> subprocess.CompletedProcess[str]:
    """Run a line of bash on the login node; code 124 says that it took too long."""
    bounded = f"timeout -k 2 {timeout_s} bash -c {shlex.quote(line)}"
    command = cluster.shell_command(bounded)
    try:
        return run(command, env=cluster.environment_inside(), timeout_s=timeout_s + 5)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", "")


def read_node_states(sinfo: str) -> dict[str, str]:
    """Read `sinfo -h -N -o '%N %T'`: name -> state, without the marks that sinfo adds (down*)."""
    lines = [line.split() for line in sinfo.splitlines()]
    return {words[0]: words[1] for words in lines if len(words) == 2}


def node_states() -> dict[str, str]:
    """What SLURM says of each node.

    Raises:
        Trouble: slurmctld does not answer.
    """
    if "is UP" not in ask("scontrol ping", 10).stdout:
        found, remedy = "slurmctld does not answer", "See `daemons`; `workshop up` mends it."
        raise Trouble(Finding(SKIPPED, found, remedy))
    return read_node_states(ask("sinfo -h -N -p main -o '%N %T'").stdout)


def daemons(spec: config.ClusterSpec) -> Finding:
    return judge_daemons(cluster.request("status", timeout_s=10)["daemons"])


def judge_daemons(lives: Mapping[str, bool]) -> Finding:
    dead = [name for name, alive in lives.items() if not alive]
    if dead:
        remedy = "`workshop up` starts what is dead; its log is in cluster/log of the base folder."
        return Finding(FAILED, f"dead: {', '.join(dead)}", remedy)
    return Finding(OK, f"{', '.join(lives)} run")


def nodes(spec: config.ClusterSpec) -> Finding:
    return judge_nodes(supervisor_state()["nodes"], node_states())


def judge_nodes(hosts: Mapping[str, Mapping[str, Any]], states: Mapping[str, str]) -> Finding:
    """Compare what the supervisor did to each node with what SLURM believes of it."""
    faults, remedies, worst = [], [], WARNING
    for name, host in hosts.items():
        state = states.get(name, "unknown")
        says = f"{name} is {{}} (SLURM says {state})"
        if host["power"] == "off":
            faults.append(says.format("off"))
            remedies.append(f"`workshop node on {name}`")
        elif host["link"]["cut"]:
            faults.append(says.format("cut off"))
            remedies.append(f"`workshop link {name} join`")
        elif "drain" in state:
            faults.append(f"{name} is {state}")
            remedies.append(f"`scontrol update nodename={name} state=resume`")
        elif not node_answers(state):
            worst = FAILED
            faults.append(f"{name} is {state}")
            remedies.append(f"`workshop node off {name}` and `workshop node on {name}`")
        elif slowed := [host["link"][key] for key in ("rate", "latency")
                        if host["link"][key] != "none"]:  # fmt: skip
            # Asked for, but forgotten easily: every later run is slower by it.
            faults.append(f"{name}'s cable is set to {' '.join(slowed)}")
            remedies.append(f"`workshop link {name} none`")
    if faults:
        return Finding(worst, "; ".join(faults), ", ".join(remedies))
    return Finding(OK, f"{len(hosts)} of {len(hosts)} are usable")


def munge(spec: config.ClusterSpec) -> Finding:
    option = f"--socket={shlex.quote(spec.munge_socket)}"
    done = ask(f"munge -n {option} | unmunge {option}")
    status = re.search(r"^STATUS:\s*(.+?)\s*(\(0\))?$", done.stdout, re.MULTILINE)
    if done.returncode == 0 and status and status.group(1) == "Success":
        return Finding(OK, "a credential was made and read back")
    said = status.group(1) if status else one_line(done.stderr) or "no answer"
    return Finding(FAILED, f"no credential: {said}", "`workshop up` starts munged again.")


def accounting(spec: config.ClusterSpec) -> Finding:
    if not spec.accounting:
        return Finding(
            SKIPPED,
            "accounting is off: no `sacct`, no limits",
            "`workshop down`, then `workshop up` without --no-accounting "
            "(needs slurmdbd and MariaDB).",
        )
    user = shlex.quote(spec.user)
    jobs = ask("sacct -n -X -P -S now-1days -o JobID")
    rights = ask(f"sacctmgr -n -P show assoc user={user} format=Account,QOS")
    remedy = "`workshop up` starts slurmdbd and MariaDB again; their logs are in cluster/log."
    for command, done in (("sacct", jobs), ("sacctmgr", rights)):
        if done.returncode:
            said = one_line(done.stderr) or f"no answer (code {done.returncode})"
            return Finding(FAILED, f"{command}: {said}", remedy)
    return judge_accounting(rights.stdout, len(jobs.stdout.split()), spec.user)


def judge_accounting(associations: str, jobs: int, user: str) -> Finding:
    """Judge `sacctmgr -n -P show assoc format=Account,QOS`: lines like `workshop|burst,learner`."""
    for line in associations.splitlines():
        account, _, qos = line.partition("|")
        if account == config.ACCOUNT and set(config.QOS) <= set(qos.split(",")):
            listed = ", ".join(sorted(config.QOS))
            return Finding(
                OK, f"sacct answers ({jobs} jobs in a day); {user} may use the QOS {listed}"
            )
    found = f"{user} has no account {config.ACCOUNT} with the QOS {', '.join(config.QOS)}"
    remedy = "Remove cluster/db/accounts in the base folder, `workshop down` and `workshop up`."
    return Finding(FAILED, found, remedy)


def jupyter(spec: config.ClusterSpec) -> Finding:
    link = cluster.jupyter_link("/api/status")
    if link is None or "jupyterlab" not in supervisor_state()["daemons"]:
        return Finding(SKIPPED, "it was not started (--no-jupyter)", "`workshop up` starts it.")
    if cluster.inside() and spec.sealed:
        link = re.sub(r":\d+/", f":{config.JUPYTER_PORT_INSIDE}/", link, count=1)
    start = time.monotonic()
    try:
        fetch_local(link, timeout_s=30)
    except OSError as error:
        remedy = "`workshop up` starts it again; its log is cluster/log/jupyterlab.out."
        return Finding(FAILED, f"no answer: {error}", remedy)
    return Finding(OK, f"answers in {time.monotonic() - start:.1f} s")
