"""Limits that really reject, hold or kill; the words a learner sees are SLURM's own."""

import pytest

from tests.slurm.conftest import Cluster, modes, wait_for

pytestmark = pytest.mark.cluster

HOG = "x = bytearray(400 << 20); x[::4096] = x[::4096]; import time; time.sleep(60)"


@pytest.fixture
def quiet(cluster: Cluster):
    """Begin and end with an empty queue."""

    def empty() -> None:
        cluster.shell("scancel -u $USER")
        wait_for(lambda: set(cluster.states().values()) == {"idle"}, 60, "all nodes to be idle")

    empty()
    yield cluster
    empty()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("srun -p debug -N3 hostname", "Node count specification invalid"),
        ("sbatch -p debug -t 6 --wrap hostname", "time limit is invalid"),
        ("sbatch -t 61 --wrap hostname", "time limit is invalid"),
        ("sbatch --qos=burst -t 11 --wrap hostname", "QOSMaxWallDurationPerJobLimit"),
        ("sbatch --qos=burst -N3 --wrap hostname", "QOSMaxNodePerUserLimit"),
        ("sbatch --qos=nobody --wrap hostname", "Invalid qos"),
    ],
)
def test_rejected_at_submit(cluster: Cluster, line: str, reason: str) -> None:
    assert reason in cluster.shell(line, ok=False)


def test_held_in_the_queue(quiet: Cluster) -> None:
    quiet.shell("for i in 1 2; do sbatch --qos=burst -t 5 --wrap 'sleep 60'; done")
    quiet.shell("for i in 1 2 3 4 5; do sbatch -t 5 --wrap 'sleep 60'; done")
    wait_for(
        lambda: (
            quiet.shell("squeue -h -t PD -o '%q %r' | sort").split("\n")[:-1]
            == ["burst QOSMaxJobsPerUserLimit", "learner QOSMaxJobsPerUserLimit"]
        ),
        20,
        "one job of each QOS to be held",
        seen=lambda: quiet.shell("squeue -o '%i %q %T %r'"),
    )


def test_the_21st_job_is_refused(quiet: Cluster) -> None:
    said = quiet.shell("for i in $(seq 21); do sbatch -H --wrap 'sleep 1' 2>&1; done", ok=False)
    assert said.count("Submitted") == 20
    assert "QOSMaxSubmitJobPerUserLimit" in said


def test_too_much_memory_is_killed(cluster: Cluster) -> None:
    said = cluster.shell(f'srun --mem=100 python3 -c "{HOG}"', ok=False)
    assert "exceeded memory limit" in said


def test_too_much_time_is_killed(cluster: Cluster) -> None:
    if cluster.mode != modes()[0]:
        pytest.skip("takes 90 s; the same daemons decide in every mode")
    said = cluster.shell("srun -t 1 sleep 300", ok=False, timeout_s=200)
    assert "DUE TO TIME LIMIT" in said
