"""What only the class cluster has: cables whose rate can be set, and a plug for each node.

    link_rates()           ["1gbit", "100mbit"]; ["as it is"] where no rate can be set
    set_links("100mbit")   every node's cable; a rate that cannot be set is left as it is
    lose_a_node(job)       a node of a running job loses its power and gets it back
    start_again(job, node) the job starts anew, at once, and not on that node

On any other cluster a node cannot be switched off by whoever uses it. There `lose_a_node` sends the
job back to the queue (`scontrol requeue`, which its owner may): its processes are killed without a
word and SLURM starts it again, which is what a lost node does to it. So a lab that calls these runs
on any cluster. The class cluster is asked through its own command, as from a terminal.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from course_lib.messages import in_lines
from course_lib.runlog import read_config
from course_lib.slurm.client import Job, JobStatus, SlurmError, list_nodes, run_command
from course_lib.slurm.notation import expand_nodes
from course_lib.slurm.watch import Snapshot, follow

RATES = ["1gbit", "100mbit"]
"""A cluster's slowest usual network, and one of which each byte is felt."""
AS_IT_IS = "as it is"
COMMAND_LIMIT_S = 180.0
START_LIMIT_S = 600.0
"""How long a job may wait in the queue, and then train to its first checkpoint."""
MISSED_LIMIT_S = 120.0
"""SLURM takes some ten seconds to miss a node, and more on a busy machine."""
ENDED_LIMIT_S = 10.0
"""A job that has ended for good is not waited for."""
LOOK_S = 0.25


class NotLost(RuntimeError):
    """No node could be lost; a notebook shows why and no traceback."""

    def _render_traceback_(self) -> list[str]:
        """Return what IPython prints in place of a traceback."""
        return [in_lines(str(self))]


def inside() -> bool:
    """Tell whether this runs in the class cluster."""
    return bool(os.environ.get("WORKSHOP_INSIDE"))


def cluster_status() -> dict[str, Any]:
    """Return what `workshop status --json` says.

    Raises:
        RuntimeError: it failed.
    """
    # Its exit code is 1 where a daemon is dead, and the nodes are worth knowing all the same.
    done = _run("status", "--json")
    if not done.stdout.startswith("{"):
        raise RuntimeError(f"`workshop status` failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def link_rates() -> list[str]:
    """Return the rates that the nodes' links can be set to, the fastest first."""
    if not inside():
        return [AS_IT_IS]
    status = cluster_status()
    can = status.get("mode") != "loopback" and "tbf" in status.get("abilities", [])
    return list(RATES) if can else [AS_IT_IS]


def set_links(rate: str, *, say: Callable[[str], object] = print) -> None:
    """Set the rate of every node's link, `none` for no limit; elsewhere leave them as they are.

    Raises:
        SlurmError: the class cluster refused.
    """
    if rate == AS_IT_IS or link_rates() == [AS_IT_IS]:
        say("the links stay as they are: on this cluster nobody can set their rate")
        return
    nodes = list(cluster_status()["nodes"])
    for node in nodes:
        _ordered("link", node, rate)
    say(f"links of {nodes[0]} to {nodes[-1]}: {'no limit' if rate == 'none' else rate}")


def lose_a_node(job: Job, *, say: Callable[[str], object] = print) -> str:
    """Wait for a job's first checkpoint, then let it lose a node; return when it is queued again.

    Returns:
        The node; "" where none can be lost.

    Raises:
        NotLost: the run saves nothing, has one node, or ended before a node could be lost.
        SlurmError: SLURM or the class cluster does not answer.
    """
    if not read_config(job.run_dir).train.checkpoint_every:
        raise NotLost(
            f"job {job.job_id} saves nothing before its end (checkpoint_every is 0), so a lost "
            f"node would send it back to step 1. Take it back, slurm('scancel {job.job_id}'), and "
            "start it with train.checkpoint_every"
        )
    began_s = time.monotonic()

    def tell(text: str) -> None:
        say(f"{time.monotonic() - began_s:4.0f} s  {text}")

    snapshot = _first_checkpoint(job, tell)
    nodes = expand_nodes(snapshot.status.nodes)
    if len(nodes) < 2:
        raise NotLost(
            f"job {job.job_id} has one node only, and one of two is to fail. Take it back, "
            f"slurm('scancel {job.job_id}'), and start it with nodes=2"
        )
    if inside():
        # Not the first: it runs the job script, whose end SLURM would hear of at once.
        _ordered("node", "off", nodes[-1])
        tell(f"{nodes[-1]} loses its power")
        # At once: SLURM would miss a dead node after 10 to 30 s, but one that boots says so itself.
        _ordered("node", "on", nodes[-1])
        tell(f"its power is back, and {nodes[-1]} boots: SLURM hears that nothing runs there")
    else:
        run_command(["scontrol", "requeue", str(job.job_id)])
        tell("the job is killed and sent back (scontrol requeue): nobody can pull a plug here")
    status = _queued_again(job)
    words = f"{status.state}, {status.reason}" if status.reason else status.state
    tell(f"job {job.job_id} is back in the queue ({words})")
    return nodes[-1] if inside() else ""


def start_again(job: Job, lost: str = "", *, say: Callable[[str], object] = print) -> None:
    """Release a job that is held, and let it start at once on other nodes than the lost one.

    SLURM makes a job that lost its node wait because that node may still get messages of its first
    life. Where there are nodes enough to do without it, there is nothing to wait for.

    Args:
        job: a job in the queue; one that has left it is left alone.
        lost: the node that it lost; "" if there is none.

    Raises:
        SlurmError: SLURM does not answer, or refuses.
    """
    if not job.status().waiting:
        say(f"job {job.job_id} has started already")
        return
    request = json.loads((job.run_dir / "job.json").read_text())
    nodes = {node.node for node in list_nodes()}
    words = "it starts when its time comes"
    if lost and len(nodes) > request["nodes"]:
        update = [f"JobId={job.job_id}", f"ExcNodeList={lost}", "StartTime=now"]
        run_command(["scontrol", "update", *update])
        words = f"it starts at once, and not on {lost}"
    run_command(["scontrol", "release", str(job.job_id)])
    say(f"job {job.job_id} is released: {words}")


def _first_checkpoint(job: Job, tell: Callable[[str], None]) -> Snapshot:
    told = ""
    for snapshot in follow(job, poll_s=LOOK_S, limit_s=START_LIMIT_S):
        status = snapshot.status
        if status.restarts:
            raise NotLost(
                f"job {job.job_id} has been started again already: once is enough. Go on with the "
                "next cell"
            )
        if snapshot.saved_step and status.running:
            tell(f"step {snapshot.saved_step} is saved")
            return snapshot
        words = f"trains on {status.nodes}" if status.running else status.state.lower()
        if words != told and not status.ended:
            tell(f"job {job.job_id} {words}")
            told = words
    raise NotLost(
        f"{snapshot.status.sentence()}, before a node could be lost. If it was simply too fast, "
        "start it with more steps; else its output says what is wrong: "
        f"{job.output_path}"
    )


def _queued_again(job: Job) -> JobStatus:
    began_s, limit_s = time.monotonic(), MISSED_LIMIT_S
    while True:
        status = job.status()
        if status.waiting:
            return status
        if status.ended and status.state != "NODE_FAIL":
            limit_s = min(limit_s, ENDED_LIMIT_S)
        if time.monotonic() - began_s > limit_s:
            raise NotLost(
                f"job {job.job_id} is {status.state} and not back in the queue after "
                f"{limit_s:.0f} s. Start the run again, and let it lose a node once more. "
                "(`workshop status` shows which nodes have power.)"
            )
        time.sleep(LOOK_S)


def _ordered(*words: str) -> None:
    done = _run(*words)
    if done.returncode:
        raise SlurmError(f"`workshop {' '.join(words)}` failed: {done.stderr.strip()}")


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-P", "-m", "slurm_env", *words]
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False
    )
