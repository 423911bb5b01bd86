"""The doctor's judgements, without a cluster: states, remedies, JSON, and checks that misbehave."""

import json
import threading
import time

import pytest

from slurm_env import allreduce, cluster, config, doctor
from slurm_env import checks_cluster as parts
from slurm_env import checks_machine as machine
from slurm_env import checks_software as software
from slurm_env import checks_tasks as tasks
from slurm_env.checks import (
    FAILED,
    OK,
    SKIPPED,
    WARNING,
    Check,
    Finding,
    Trouble,
    one_line,
    run_checks,
)
from slurm_env.hosts import Machine
from slurm_env.processes import ClusterError


def spec(mode: str = "rootless", nodes: int = 2) -> config.ClusterSpec:
    return config.ClusterSpec(
        mode=mode,
        root="/tmp/c",
        user="ada",
        nodes=nodes,
        accounting=True,
        slurmd_ports=tuple(range(20001, 20001 + nodes)),
    )


def run_silently(*checks: Check, at_once: int = 4) -> list[Finding]:
    return run_checks(checks, at_once, lambda check, finding: None)


# --- the runner ---------------------------------------------------------------------------------


def test_a_finding_that_is_not_ok_has_a_remedy():
    Finding(OK, "fine")
    for state in (WARNING, FAILED, SKIPPED):
        with pytest.raises(ValueError, match="without a remedy"):
            Finding(state, "bad")
    with pytest.raises(ValueError, match="not 'good'"):
        Finding("good", "fine")


def test_a_crashing_check_is_failed_and_hides_no_other():
    def crash() -> Finding:
        raise ZeroDivisionError("by zero")

    def cluster_fault() -> Finding:
        raise ClusterError("the supervisor\nis silent")

    def trouble() -> Finding:
        raise Trouble(Finding(SKIPPED, "later", "Wait."))

    def remediless() -> Finding:
        return Finding(WARNING, "a check that forgot its remedy")

    fine = Check("fine", lambda: Finding(OK, "fine"))
    found = run_silently(
        Check("crash", crash),
        fine,
        Check("fault", cluster_fault),
        Check("trouble", trouble),
        Check("remediless", remediless),
        fine,
    )
    assert [f.state for f in found] == [FAILED, OK, FAILED, SKIPPED, FAILED, OK]
    assert "ZeroDivisionError: by zero" in found[0].found
    assert found[2].found == "the supervisor is silent"
    assert "without a remedy" in found[4].found
    assert all(f.remedy for f in found if f.state != OK)


def test_a_hanging_check_is_given_up_at_its_time_limit():
    release = threading.Event()

    def hang() -> Finding:
        release.wait(10)
        return Finding(OK, "too late")

    start = time.monotonic()
    found = run_silently(
        Check("hang", hang, limit_s=0.2), Check("next", lambda: Finding(OK, "went on")), at_once=1
    )
    assert time.monotonic() - start < 5
    release.set()
    assert (found[0].state, found[0].found) == (FAILED, "no answer in 0.2 s")
    assert found[1].found == "went on"


def test_lines_come_as_checks_end_but_findings_in_order():
    slow_may_end = threading.Event()

    def slow() -> Finding:
        slow_may_end.wait(10)
        return Finding(OK, "slow")

    ended = []

    def on_end(check: Check, finding: Finding) -> None:
        ended.append(check.name)
        slow_may_end.set()

    checks = [Check("slow", slow), Check("quick", lambda: Finding(OK, "quick"))]
    assert [f.found for f in run_checks(checks, 2, on_end)] == ["slow", "quick"]
    assert ended == ["quick", "slow"]


def test_never_more_checks_at_once_than_asked_for():
    lock, now, most = threading.Lock(), [0], [0]

    def work() -> Finding:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01)
        with lock:
            now[0] -= 1
        return Finding(OK, "done")

    assert len(run_silently(*[Check(str(i), work) for i in range(8)], at_once=2)) == 8
    assert most[0] <= 2


# --- what is printed ----------------------------------------------------------------------------


def test_a_printed_finding_shows_its_remedy_below_and_keeps_to_the_width():
    text = doctor.as_lines("disk space", Finding(FAILED, "0.1 GB free", "Free " + "more " * 40))
    first, second, *_ = text.splitlines()
    assert first.split(None, 3) == ["failed", "disk", "space", "0.1 GB free"]
    assert second.strip().startswith("Remedy: Free more")
    assert all(len(line) <= doctor.LINE_WIDTH for line in text.splitlines())
    assert doctor.as_lines("x", Finding(OK, "fine")).count("\n") == 0
    assert doctor.as_lines("nodes", parts.NOT_RUNNING).endswith("is not running (workshop up)")


def test_summary_and_exit_code():
    found = [Finding(OK, "a"), Finding(OK, "b"), Finding(WARNING, "c", "d")]
    assert doctor.summary(found, 3.2) == "3 checks in 3 s: 2 ok, 1 warning."
    assert doctor.exit_code([*found, Finding(SKIPPED, "e", "f")]) == 0
    assert doctor.exit_code([*found, Finding(FAILED, "e", "f")]) == 1


def test_json_without_a_cluster(capsys, monkeypatch):
    monkeypatch.setattr(cluster, "running", lambda: None)
    monkeypatch.setattr(doctor, "software_checks", lambda: [Check("Python", software.python)])
    assert doctor.main(as_json=True) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(list(row) == ["name", "state", "found", "remedy"] for row in rows)
    by_name = {row["name"]: row for row in rows}
    assert len(by_name) == len(rows) >= 15
    for name in ("nodes", "munge", "srun on every node", "all-reduce, two nodes"):
        assert by_name[name]["state"] == "skipped"
        assert by_name[name]["found"] == "the class cluster is not running (workshop up)"
    assert all(row["remedy"] for row in rows if row["state"] != "ok")


def test_an_unreadable_record_hides_nothing(capsys, monkeypatch):
    def refuse():
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cluster, "running", refuse)
    monkeypatch.setattr(doctor, "software_checks", lambda: [])
    assert doctor.main(as_json=True) == 1
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert "Permission denied" in rows["cluster's record"]["found"]
    assert rows["cores"]["state"] in (OK, WARNING)


def test_one_line_is_one_bearable_line():
    assert one_line("a\n  b") == "a b"
    assert len(one_line("x" * 1000)) == 300


# --- what is installed --------------------------------------------------------------------------


def test_the_pins_of_this_checkout_are_read():
    wanted = software.pins(software.requirements())
    assert wanted["torch"].count(".") == 2
    assert "jupyterlab" in wanted and "pytest" not in wanted


def test_pins_read_extras_and_skip_what_is_not_required():
    lines = ["torch==2.1.0", "a-b.c[x,y]==1", 'pytest==9; extra == "dev"', "loose>=1"]
    assert software.pins(lines) == {"torch": "2.1.0", "a-b.c": "1"}


@pytest.mark.parametrize(
    ("installed", "state", "said"),
    [
        ({"torch": "2.1.0+cpu", "rich": "15.0.0"}, OK, "all 2 pinned"),
        ({"torch": None, "rich": "15.0.0"}, FAILED, "missing: torch"),
        ({"torch": "2.2.0", "rich": "15.0.0"}, WARNING, "torch is 2.2.0, not 2.1.0"),
        ({"torch": "2.2.0", "rich": None}, FAILED, "missing: rich; torch is 2.2.0"),
    ],
)
def test_packages(installed, state, said):
    finding = software.judge_packages({"torch": "2.1.0", "rich": "15.0.0"}, installed)
    assert finding.state == state and said in finding.found


def test_python():
    assert software.judge_python((3, 11, 2), True, "/venv").state == OK
    assert software.judge_python((3, 13, 0), False, "/usr").state == WARNING
    assert software.judge_python((3, 9, 1), True, "/venv").state == FAILED


def test_missing_programs_name_the_packages(monkeypatch):
    monkeypatch.setattr(software.shutil, "which", lambda name: None)
    assert "munge" in software.slurm_packages().remedy
    assert software.slurm_packages().state == FAILED
    assert software.accounting_packages().state == WARNING
    assert "slurmdbd mariadb-server" in software.accounting_packages().remedy
    assert software.sandbox().state == WARNING
    assert "bubblewrap" in software.sandbox().remedy


def test_a_sandbox_that_cannot_be_made_is_a_warning_with_the_remedy():
    assert software.judge_sandbox("0.8.0", 0, "").state == OK
    finding = software.judge_sandbox("0.8.0", 1, "bwrap: No permissions to create new namespace")
    assert finding.state == WARNING and "No permissions" in finding.found
    assert "unprivileged_userns_clone" in finding.remedy


# --- what the machine allows --------------------------------------------------------------------


def test_namespaces():
    why = "users may make namespaces on this machine"
    sealed = Machine(mode="rootless", why=why)
    assert machine.judge_namespaces(sealed, {}, True).state == OK
    asked = Machine(mode="loopback", why="WORKSHOP_MODE=loopback asked for it")
    assert machine.judge_namespaces(asked, {}, True).state == OK
    denied = Machine(mode="loopback", why="namespaces are not allowed here (EPERM)")
    apparmor = {"kernel/apparmor_restrict_unprivileged_userns": "1"}
    finding = machine.judge_namespaces(denied, apparmor, True)
    assert finding.state == WARNING
    assert finding.remedy == "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    assert "iproute2" in machine.judge_namespaces(denied, {}, False).remedy
    assert "container" in machine.judge_namespaces(denied, {}, True).remedy


@pytest.mark.parametrize(
    ("mode", "abilities", "state"),
    [
        ("rootless", {"tbf", "netem"}, OK),
        ("rootless", {"tbf"}, WARNING),
        ("root", {"netem"}, WARNING),
        ("loopback", set(), SKIPPED),
    ],
)
def test_link_shaping(mode, abilities, state):
    found = Machine(mode=mode, why="", abilities=frozenset(abilities))
    assert machine.judge_link_shaping(found).state == state


def test_disk_memory_and_cores():
    free = [machine.judge_disk(n, "/base").state for n in (6 * 10**9, 2 * 10**9, 10**8)]
    assert free == [OK, WARNING, FAILED]
    assert machine.judge_memory(20 * 10**9, False, 16 * 10**9).state == OK
    assert machine.judge_memory(8 * 10**9, False, 16 * 10**9).state == WARNING
    assert machine.judge_memory(8 * 10**9, False, None).state == OK
    assert "container" in machine.judge_memory(10**9, True, None).found
    assert [machine.judge_cores(n, 16).state for n in (1, 2, 16)] == [WARNING, OK, OK]


def test_gpus_of_the_class_are_called_fake():
    for names, seen, state in (([], False, OK), (["H200"], True, OK), (["H200"], False, WARNING)):
        finding = machine.judge_gpu(names, seen)
        assert finding.state == state and "fake" in finding.found


def test_folders(tmp_path, monkeypatch):
    assert machine.writable(tmp_path).state == OK
    assert "not yet made" in machine.writable(tmp_path / "a" / "b").found
    (tmp_path / "file").touch()
    assert machine.writable(tmp_path / "file").state == FAILED

    def refuse(dir):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refuse)
    finding = machine.writable(tmp_path)
    assert finding.state == FAILED and "Read-only file system" in finding.found


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))
    assert machine.workspace().state == OK
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(machine.os, "geteuid", lambda: owner + 1)
    assert "another user" in machine.workspace().found


# --- the cluster --------------------------------------------------------------------------------


def test_the_spec_survives_the_record():
    record = json.loads(json.dumps({"spec": vars(spec("loopback"))}))
    assert parts.running_spec(record) == spec("loopback")
    assert parts.running_spec(None) is None


def test_dead_daemons_are_named():
    assert parts.judge_daemons({"munged": True, "slurmctld": True}).state == OK
    finding = parts.judge_daemons({"munged": True, "slurmctld": False})
    assert (finding.state, finding.found) == (FAILED, "dead: slurmctld")
    assert "workshop up" in finding.remedy


def host(power: str = "on", cut: bool = False, rate: str = "none") -> dict:
    return {"power": power, "link": {"rate": rate, "latency": "none", "cut": cut}}


@pytest.mark.parametrize(
    ("host", "slurm", "state", "remedy"),
    [
        (host(), "idle", OK, ""),
        (host(), "allocated", OK, ""),
        (host("off"), "idle", WARNING, "`workshop node on node1`"),
        (host(cut=True), "down*", WARNING, "`workshop link node1 join`"),
        (host(rate="100mbit"), "idle", WARNING, "`workshop link node1 none`"),
        (host(rate="100mbit"), "drained", WARNING, "`scontrol update nodename=node1 state=resume`"),
        (host(), "drained", WARNING, "`scontrol update nodename=node1 state=resume`"),
        (host(), "down*", FAILED, "`workshop node off node1` and `workshop node on node1`"),
        (host(), "idle*", FAILED, "`workshop node off node1` and `workshop node on node1`"),
    ],
)
def test_a_node_that_is_out_has_its_own_remedy(host, slurm, state, remedy):
    finding = parts.judge_nodes({"node1": host}, {"node1": slurm})
    assert (finding.state, finding.remedy) == (state, remedy)


def test_one_failed_node_beside_a_switched_off_one_is_a_failure():
    hosts = {"node1": host("off"), "node2": host(), "node3": host()}
    finding = parts.judge_nodes(hosts, {"node1": "down*", "node2": "down*", "node3": "idle"})
    assert finding.state == FAILED
    assert "node1 is off" in finding.found and "node3" not in finding.found


def test_accounting():
    fine = parts.judge_accounting("workshop|burst,learner\n", 3, "ada")
    assert fine.state == OK and "3 jobs" in fine.found
    for lines in ("", "workshop|normal\n", "other|burst,learner\n"):
        assert parts.judge_accounting(lines, 0, "ada").state == FAILED


def test_node_states_are_read():
    assert parts.read_node_states("node1 idle\nnode2 down*\n\n") == {
        "node1": "idle",
        "node2": "down*",
    }


@pytest.mark.parametrize(
    ("code", "stderr", "state", "said"),
    [
        (1, "srun: error: Unable to allocate resources: Requested nodes are busy", WARNING, "busy"),
        (124, "", FAILED, "no answer in 20 s"),
        (
            1,
            "Traceback\nModuleNotFoundError: No module named 'torch'\n"
            "srun: error: node1: task 0: Exited with exit code 1\n",
            FAILED,
            "No module named 'torch'",
        ),
        (
            143,
            "ModuleNotFoundError: No module named 'torch'\nTraceback (most recent call last):\n",
            FAILED,
            "No module named 'torch'",
        ),
        (233, "srun: Job step aborted\n", FAILED, "Job step aborted"),
        (1, "", FAILED, "it said nothing"),
    ],
)
def test_srun_is_explained(code, stderr, state, said):
    finding = tasks.explain_srun(code, stderr, 20)
    assert finding.state == state and said in finding.found and finding.remedy


def test_srun_on_every_node():
    assert tasks.judge_srun(["node1", "node2"], ["node2", "node1"], 0.5).state == OK
    finding = tasks.judge_srun(["node1", "node2"], ["node1"], 0.5)
    assert finding.state == WARNING and "none on node2" in finding.found


def test_node_names():
    good = "head=10.77.0.1 node1=10.77.0.11 node2=10.77.0.12"
    table = tasks.read_node_names(f"node1 {good}\nnode2 {good}\n")
    assert tasks.judge_node_names(table, spec()).state == OK
    bad = tasks.read_node_names(f"node1 {good}\nnode2 head=10.77.0.1 node1= node2=10.0.0.9\n")
    finding = tasks.judge_node_names(bad, spec())
    assert finding.state == FAILED
    assert finding.found == "on node2 node1 is unknown; on node2 node2 is 10.0.0.9"


def test_node_names_of_loopback_need_not_resolve():
    table = tasks.read_node_names("node1 head= node1= node2=\n")
    finding = tasks.judge_node_names(table, spec("loopback"))
    assert finding.state == OK and "this machine" in finding.found


@pytest.mark.parametrize(
    ("node2_s", "state"),
    [(100.2, OK), (99.5, OK), (130.0, WARNING), (401.0, FAILED), (-250, FAILED)],
)
def test_clocks(node2_s, state):
    finding = tasks.judge_clock({"node1": 100.1, "node2": node2_s}, 100.0, 100.5)
    assert finding.state == state
    assert state == OK or "node2" in finding.found


@pytest.mark.parametrize(
    ("measured", "limits", "state"),
    [
        (600e6, ["none", "none"], OK),
        (20e6, ["none", "none"], WARNING),
        (11.9e6, ["1gbit", "100mbit"], OK),
        (119e6, ["1gbit", "none"], OK),
        (119e6, ["100mbit", "none"], WARNING),
        (5e6, ["100mbit", "none"], WARNING),
        (300e6, ["10gbit", "none"], OK),
    ],
)
def test_all_reduce_is_held_against_the_slower_link(measured, limits, state):
    assert tasks.judge_all_reduce(measured, limits, "node1 and node2").state == state


def test_rates():
    assert tasks.rate_bytes_per_s("100mbit") == 12.5e6
    assert tasks.rate_bytes_per_s("1gbit") == 125e6
    assert tasks.rate_bytes_per_s("none") == float("inf")


# --- the measuring program ----------------------------------------------------------------------


def test_bus_bandwidth_is_that_of_a_ring():
    assert allreduce.bus_bandwidth_bytes_per_s(2, 8_000_000, 0.5) == 16e6
    assert allreduce.bus_bandwidth_bytes_per_s(4, 8_000_000, 0.5) == 24e6


def test_repetitions_and_ports_stay_in_bounds():
    assert [allreduce.repetitions_for(s, 3) for s in (0.001, 0.2, 10)] == [50, 15, 5]
    ports = [allreduce.rendezvous_port(job, 0) for job in range(2000)]
    assert len(set(ports)) == 2000 and min(ports) >= 10_000 and max(ports) < 30_000


def test_without_srun_it_says_how_to_start_it(capsys, monkeypatch):
    monkeypatch.delenv("SLURM_STEP_NODELIST", raising=False)
    with pytest.raises(SystemExit):
        allreduce.main([])
    assert "srun -N2 -n2" in capsys.readouterr().err
