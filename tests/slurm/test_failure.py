"""A node loses its power or its cable under a running job: what SLURM says and does."""

import pytest

from tests.slurm.conftest import Cluster, modes, wait_for

pytestmark = pytest.mark.cluster


def _two_node_job(cluster: Cluster) -> str:
    """Start a requeueable job on node1 and node2 that ends soon once it may run to the end."""
    line = "sbatch --parsable --requeue -w node1,node2 -N2 -t 5 -o job-%j.out"
    job = cluster.shell(f"{line} --wrap 'echo start; srun sleep 8; echo end'").strip()
    wait_for(lambda: _state(cluster, job) == "RUNNING", 30, f"job {job} to start")
    return job


def _state(cluster: Cluster, job: str) -> str:
    return cluster.shell(f"squeue -h -j {job} -o %T", ok=False).strip()


def test_power_off_downs_the_node_and_requeues_its_job(cluster: Cluster) -> None:
    job = _two_node_job(cluster)
    cluster.workshop("node", "off", "node2")
    assert cluster.status()["nodes"]["node2"]["power"] == "off"
    wait_for(lambda: "down" in cluster.states()["node2"], 60, "node2 to be down")
    wait_for(
        lambda: _state(cluster, job) == "PENDING",
        30,
        f"job {job} to be requeued",
        seen=lambda: cluster.shell(f"squeue; sacct -D -j {job}; cat job-{job}.out"),
    )
    history = cluster.shell(f"sacct -X -D -n -j {job} -o state")
    assert "NODE_FAIL" in history

    done = cluster.workshop("node", "on", "node2")
    assert done.returncode == 0
    wait_for(lambda: cluster.states()["node2"] in ("idle", "mixed"), 60, "node2 to be used again")
    if cluster.mode != modes()[0]:
        cluster.shell(f"scancel {job}")
        return  # a requeued job waits 71 s: once is enough, the same daemons decide in every mode
    wait_for(
        lambda: "COMPLETED" in cluster.shell(f"sacct -X -n -j {job} -o state"),
        150,
        f"job {job} to complete in its second life",
    )
    assert cluster.shell(f"scontrol show job {job} | grep -o Restarts=.").strip() == "Restarts=1"
    assert cluster.pids("sleep") == []


def test_a_node_that_returns_before_it_was_missed_loses_its_job(cluster: Cluster) -> None:
    job = _two_node_job(cluster)
    cluster.workshop("node", "off", "node2")
    cluster.workshop("node", "on", "node2")
    wait_for(lambda: _state(cluster, job) == "PENDING", 30, f"job {job} to be requeued")
    cluster.shell(f"scancel {job}")
    wait_for(lambda: cluster.states()["node2"] == "idle", 60, "node2 to be used again")


def test_a_cut_cable_downs_the_node_until_it_is_joined(cluster: Cluster) -> None:
    done = cluster.workshop("link", "node3", "cut")
    if cluster.mode == "loopback":
        assert done.returncode != 0
        assert "no cables" in done.stderr
        return
    try:
        assert "cut" in cluster.workshop("status").stdout
        wait_for(lambda: "down" in cluster.states()["node3"], 60, "node3 to be down")
        # Mending what is dead does not wait for a node whose cable somebody has pulled.
        cluster.up()
        assert len(cluster.shell("srun -N3 hostname").split()) == 3
    finally:
        cluster.workshop("link", "node3", "join")
    wait_for(lambda: cluster.states()["node3"] == "idle", 120, "node3 to be used again")
