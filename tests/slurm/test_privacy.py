"""Two people on one machine: neither sees the other's cluster, and both can have one at once."""

import shutil
import stat

import pytest

from tests.slurm.conftest import AS_ROOT, Cluster, build_cluster

pytestmark = pytest.mark.cluster


def test_files_and_sockets_are_the_owners_alone(cluster: Cluster) -> None:
    folders = [cluster.base, cluster.base / "cluster" / "munge"]
    for folder in folders:
        assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0, folder
    short = cluster.shell("dirname $WORKSHOP_CLUSTER").strip()
    assert cluster.shell(f"stat -c %a {short}").strip() == "700"


@pytest.mark.skipif(not AS_ROOT, reason="needs root to become a second user")
def test_another_user_can_neither_see_nor_submit(cluster: Cluster, people) -> None:
    stranger = people[1]
    # A stranger who can run nothing would prove nothing.
    assert stranger.run("id", "-un").stdout.strip() == stranger.name
    conf = cluster.shell("echo $SLURM_CONF").strip()
    for command in ("sinfo", "squeue", "srun hostname"):
        done = stranger.run("sh", "-c", f'SLURM_CONF="{conf}" timeout 5 {command}', timeout_s=60)
        assert done.returncode != 0
        assert "not found" not in done.stderr
        assert "node1" not in done.stdout
    # Even with the configuration told: no daemon listens where a stranger could reach it with it.
    text = (cluster.base / "cluster" / "etc" / "slurm.conf").read_text()
    copied = stranger.run(
        "sh",
        "-c",
        'cd && printf "%s" "$TEXT" > slurm.conf && SLURM_CONF=$PWD/slurm.conf timeout 10 srun id',
        TEXT=text,
        timeout_s=60,
    )
    assert stranger.run("sh", "-c", "grep -c ClusterName ~/slurm.conf").stdout == "1\n"
    assert copied.returncode != 0
    assert "uid=" not in copied.stdout


@pytest.mark.skipif(not AS_ROOT, reason="needs root to become a second user")
def test_two_users_two_clusters(cluster: Cluster, people, place) -> None:
    other = build_cluster("rootless", [people[1]], place, "second")
    try:
        other.up("--nodes", "1", "--no-accounting")
        assert other.shell("srun hostname").strip() == "node1"
        assert len(cluster.shell("srun -N4 hostname").split()) == 4
    finally:
        other.down()
        shutil.rmtree(other.base)
