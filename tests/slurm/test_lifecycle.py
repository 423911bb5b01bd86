"""The cluster starts, survives what classes do to it, and leaves nothing behind."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.slurm.conftest import Cluster, build_cluster, modes, wait_for

pytestmark = pytest.mark.cluster


def test_four_nodes_run_a_job_and_account_for_it(cluster: Cluster) -> None:
    state = cluster.status()
    assert state["mode"] == cluster.mode
    assert state["why"]
    assert list(cluster.states().values()) == ["idle"] * 4
    # In loopback mode every node is this machine; elsewhere each is a host with a name of its own.
    names = cluster.shell("srun -N4 bash -c 'echo $SLURMD_NODENAME $(hostname)'").split()
    assert set(names[::2]) == {"node1", "node2", "node3", "node4"}
    if cluster.mode != "loopback":
        assert names[::2] == names[1::2]
    job = cluster.shell("sbatch --parsable --wrap 'hostname'").strip()
    wait_for(
        lambda: "COMPLETED" in cluster.shell(f"sacct -X -n -j {job} -o state"), 30, "sacct to know"
    )


def test_hosts_have_processes_and_scratch_of_their_own(cluster: Cluster) -> None:
    if cluster.mode == "loopback":
        pytest.skip("loopback nodes share the machine: that is what the mode is")
    count = int(cluster.shell("srun -N1 bash -c 'ls -d /proc/[0-9]* | wc -l'"))
    assert count < 15
    scratch = "$WORKSHOP_BASE/cluster/scratch"
    cluster.shell(f"srun -w node1 bash -c 'echo one > \"{scratch}/proof\"'")
    assert "proof" not in cluster.shell(f"srun -w node2 bash -c 'ls \"{scratch}\"'")
    assert cluster.shell(f"srun -w node1 bash -c 'cat \"{scratch}/proof\"'").strip() == "one"


def test_what_a_job_leaves_in_the_background_ends_with_it(cluster: Cluster) -> None:
    script = "sleep 601 & setsid sleep 602 & srun sleep 603 & sleep 1; exit 0"
    job = cluster.shell(f"sbatch --parsable --wrap '{script}'").strip()
    other = cluster.shell("sbatch --parsable -w node2 --wrap 'sleep 604'").strip()
    wait_for(lambda: not cluster.shell(f"squeue -h -j {job}").strip(), 30, "the job to end")
    wait_for(lambda: len(cluster.pids("sleep")) == 1, 20, "all but the other job's to end")
    # salloc gives its shell the job's number, and that shell is no part of the job.
    said = cluster.shell(
        "salloc -N1 bash -c 'scancel $SLURM_JOB_ID; sleep 3; echo alive'", ok=False
    )
    assert "alive" in said
    cluster.shell(f"scancel {other}")
    wait_for(lambda: cluster.pids("sleep") == [], 20, "the other job to end")


def test_fake_gpus_are_handed_out(cluster: Cluster) -> None:
    seen = cluster.shell("srun --gres=gpu:2 bash -c 'echo $CUDA_VISIBLE_DEVICES'")
    assert seen.strip() == "0,1"
    seen = cluster.shell("srun --gres=gpu:3 hostname", ok=False)
    assert "not available" in seen


def test_shell_returns_the_commands_exit_code(cluster: Cluster) -> None:
    assert cluster.workshop("shell", "-c", "exit 7").returncode == 7
    assert cluster.workshop("shell", "-c", "srun bash -c 'exit 9'").returncode == 9


def test_up_again_changes_nothing(cluster: Cluster) -> None:
    before = cluster.pids("slurmctld") + cluster.pids("slurmd")
    cluster.up()
    assert cluster.pids("slurmctld") + cluster.pids("slurmd") == before
    other = cluster.workshop("up", "--nodes", "2")
    assert other.returncode == 1
    assert "nodes = 4, not 2" in other.stderr


@pytest.mark.parametrize("daemon", ["slurmctld", "slurmdbd", "munged", "mariadbd"])
def test_up_mends_a_killed_daemon(cluster: Cluster, daemon: str) -> None:
    for pid in cluster.pids(daemon):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not cluster.status()["daemons"][daemon], 5, "the supervisor to notice")
    cluster.up()
    assert all(cluster.status()["daemons"].values())
    assert len(cluster.shell("srun -N4 hostname").split()) == 4
    cluster.shell("sacct -X")


def test_up_mends_a_killed_slurmd_and_its_job_is_requeued(cluster: Cluster) -> None:
    job = cluster.shell("sbatch --parsable --requeue -N4 -t 5 --wrap 'srun sleep 300'").strip()
    wait_for(lambda: len(cluster.pids("sleep")) == 4, 30, "the job to run on four nodes")
    os.kill(cluster.pids("slurmd")[-1], signal.SIGKILL)
    wait_for(
        lambda: "off" in [node["power"] for node in cluster.status()["nodes"].values()],
        5,
        "the supervisor to notice",
    )
    cluster.up()
    wait_for(
        lambda: cluster.shell(f"squeue -h -j {job} -o %T").strip() == "PENDING",
        30,
        "the job to be requeued",
    )
    cluster.shell(f"scancel {job}")
    wait_for(lambda: cluster.pids("sleep") == [], 30, "the job's processes to end")
    # A node that missed the order to end the job is told again, at SLURM's leisure.
    wait_for(
        lambda: set(cluster.states().values()) == {"idle"},
        200,
        "all nodes to be idle",
        seen=lambda: cluster.shell("sinfo -N -l; squeue"),
    )
    assert len(cluster.shell("srun -N4 hostname").split()) == 4


def test_up_accepts_nodes_that_somebody_has_drained(cluster: Cluster) -> None:
    cluster.shell("scontrol update nodename=node1 state=drain reason=lesson")
    try:
        cluster.up()
    finally:
        cluster.shell("scontrol update nodename=node1 state=resume")
    wait_for(lambda: cluster.states()["node1"] == "idle", 60, "node1 to be used again")


def test_nonsense_on_the_control_socket_does_not_end_the_class(cluster: Cluster) -> None:
    control = Path(cluster.shell("dirname $WORKSHOP_CLUSTER").strip(), "control.sock")
    for line in (b"\n", b"[]\n", b"{}\n", b'{"do": "serve"}\n', b'{"do": "node"}\n'):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(control))
            connection.sendall(line)
            connection.recv(1000)
    assert cluster.status()["running"]


def test_a_shell_opens_in_the_workspace(cluster: Cluster) -> None:
    words = [cluster.person.python, "-m", "slurm_env", "shell"]
    done = subprocess.run(
        [*cluster.person.prefix, *words],
        env=cluster.person.environment | cluster.environment,
        input="pwd; command -v workshop python ls; exit 4\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 4, done.stderr
    assert done.stdout.startswith(f"{cluster.base}/workspace\n")
    assert len(done.stdout.split("\n")) == 5


def test_files_of_the_working_folder_stand_in_for_no_module(cluster: Cluster) -> None:
    (cluster.base / "workspace" / "argparse.py").write_text("raise SystemExit('shadowed')\n")
    try:
        line = 'cd "$WORKSHOP_BASE/workspace" && python -P -m course_lib.cli status'
        assert "shadowed" not in cluster.shell(line)
    finally:
        (cluster.base / "workspace" / "argparse.py").unlink()


def test_wrong_words_are_answered_with_a_remedy(cluster: Cluster) -> None:
    for words, expected in (
        (["node", "off", "node9"], "there are node1, node2, node3, node4"),
        (["link", "node1", "fast"], "use a rate"),
        (["link", "node1", "0mbit"], "use a rate"),
    ):
        done = cluster.workshop(*words)
        assert done.returncode != 0
        assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_netem_is_refused_where_the_kernel_has_none(cluster: Cluster) -> None:
    if "netem" in cluster.status()["abilities"]:
        pytest.skip("this kernel has netem")
    done = cluster.workshop("link", "node1", "5ms")
    assert done.returncode != 0
    assert "netem" in done.stderr or "no cables" in done.stderr


def _machine_state() -> tuple[str, str, list[str]]:
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
    mounts = Path("/proc/self/mountinfo").read_text()
    spaces = sorted(os.listdir("/run/netns")) if Path("/run/netns").exists() else []
    return links, mounts, spaces


@pytest.mark.parametrize("mode", modes())
def test_whole_life_leaves_nothing_behind(mode: str, people, place: Path) -> None:
    """up, kill -9 of everything, up over stale files, a job each time, down: nothing is left."""
    before = _machine_state()
    cluster = build_cluster(mode, people, place, "life")
    try:
        cluster.up("--nodes", "2", "--no-accounting")
        assert cluster.shell("srun -N2 hostname").count("\n") == 2
        assert cluster.base.stat().st_mode & 0o777 == 0o700
        short = Path(cluster.shell("dirname $WORKSHOP_CLUSTER").strip())
        assert "sacct" in cluster.workshop("status").stdout
        cluster.shell("sbatch --parsable -N2 --requeue --wrap 'srun sleep 600'")
        wait_for(lambda: "mixed" in cluster.states().values(), 20, "the job to start")

        for pid in cluster.pids(""):
            with contextlib.suppress(ProcessLookupError):  # one takes others along
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: cluster.workshop("status").returncode == 1, 10, "the crash to show")
        cluster.up("--nodes", "2", "--no-accounting")
        wait_for(
            lambda: cluster.shell("scancel -u $USER; squeue -h") == "", 60, "the old job to end"
        )
        wait_for(lambda: set(cluster.states().values()) == {"idle"}, 60, "both nodes to be idle")
        assert cluster.shell("srun -N2 hostname").count("\n") == 2

        # Stale files: as if a crash of the whole machine had left them.
        cluster.down()
        (cluster.base / "cluster" / "run" / "slurmctld.pid").write_text("1\n")
        (cluster.base / "cluster" / "munge" / "munge.socket.2").touch()
        cluster.up("--nodes", "2", "--no-accounting")
        assert cluster.shell("srun -N2 hostname").count("\n") == 2
        cluster.shell("sbatch --wrap 'sleep 600'")
    finally:
        cluster.down()
    left = cluster.pids("")
    assert left == []
    assert _machine_state() == before
    assert [path for path in cluster.base.rglob("*") if path.is_socket()] == []
    assert not short.exists()
    assert cluster.workshop("status").returncode == 1
    assert cluster.workshop("down").returncode == 0
    shutil.rmtree(cluster.base)
