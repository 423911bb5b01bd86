"""SLURM's commands and their answers, as SLURM 22.05 gave them.

The commands are small scripts on PATH that print what the real ones printed; the class cluster's
own tests (tests/slurm) run the real ones.
"""

import json
import os
from pathlib import Path

import pytest

from course_lib import runlog
from course_lib.presets import tiny
from course_lib.slurm import client
from course_lib.slurm.client import (
    Job,
    JobRefused,
    SlurmError,
    find_job,
    job_status,
    parse_nodes,
    parse_show_job,
    plan_submission,
    run_command,
    submit,
)
from course_lib.slurm.reasons import explain_reason, explain_refusal, never_starts
from course_lib.slurm.site import load_site

RECORDED = Path(__file__).parent / "recorded"
FAILED = (RECORDED / "show_job_failed.txt").read_text()
PENDING = (RECORDED / "show_job_pending.txt").read_text()
UNKNOWN = "slurm_load_jobs error: Invalid job id specified"
ACCOUNTING = "AccountingStorageType   = accounting_storage/{}"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Return a function that puts commands on PATH: name, what they print, how they end."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def put(name: str, out: str = "", err: str = "", code: int = 0) -> None:
        (folder / f"{name}.out").write_text(out)
        (folder / f"{name}.err").write_text(err)
        path = folder / name
        path.write_text(
            f'#!/bin/bash\nprintf "%s\\n" "$@" > "{folder}/{name}.args"\n'
            f'cat "{folder}/{name}.out"; cat "{folder}/{name}.err" >&2; exit {code}\n'
        )
        path.chmod(0o755)

    return put


@pytest.fixture
def base(tmp_path, monkeypatch):
    """Put the workshop into a folder with a space and a quote in its name."""
    folder = tmp_path / "it's a base"
    monkeypatch.setenv("WORKSHOP_BASE", str(folder))
    return folder


def submission(**changes):
    words = {"site": load_site("class"), "nodes": 2, **changes}
    return plan_submission(tiny(), **words)


def test_a_failed_job_is_read():
    status = parse_show_job(FAILED)
    assert (status.job_id, status.name, status.state) == (20, "tiny", "FAILED")
    assert status.ended and not status.succeeded
    assert status.nodes == "node[1-2]"
    assert status.elapsed_s == 15
    assert status.work_dir == Path("/home/ada/my workshop/workspace/runs/tiny-1")
    assert "failed with exit code" in status.sentence()


def test_a_waiting_job_is_read():
    status = parse_show_job(PENDING)
    assert status.waiting and not status.ended
    assert status.reason == "PartitionTimeLimit"
    assert status.nodes == ""


def test_without_the_controller_the_records_answer(slurm, tmp_path):
    slurm("scontrol", err=UNKNOWN, code=1)
    # `scontrol show config` and `scontrol show job` are one command: answer by its arguments.
    script = tmp_path / "bin" / "scontrol"
    script.write_text(
        "#!/bin/bash\n"
        f'if [ "$2" = config ]; then echo "{ACCOUNTING.format("slurmdbd")}"; exit; fi\n'
        f'echo "{UNKNOWN}" >&2; exit 1\n'
    )
    slurm("sacct", out="9|CANCELLED by 0|0:15|120|node[1-2]|None|nano|/home/ada/a b|c\n")
    status = job_status(9)
    assert (status.state, status.exit_signal, status.elapsed_s) == ("CANCELLED", 15, 120)
    assert status.work_dir == Path("/home/ada/a b|c")

    slurm("sacct", out="")
    with pytest.raises(ValueError, match="SLURM knows no job 9: `workshop jobs`"):
        job_status(9)


def test_without_accounting_an_old_job_is_unknown(slurm, tmp_path):
    script = tmp_path / "bin" / "scontrol"
    slurm("scontrol")
    script.write_text(
        f'#!/bin/bash\nif [ "$2" = config ]; then echo "{ACCOUNTING.format("none")}"; exit; fi\n'
        f'echo "{UNKNOWN}" >&2; exit 1\n'
    )
    with pytest.raises(ValueError, match="Without accounting, SLURM forgets"):
        job_status(9)


def test_no_slurm_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match="no SLURM here.*`workshop up`"):
        run_command(["squeue"])


@pytest.mark.parametrize(
    ("err", "words"),
    [
        (
            "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
            "controller does not answer.*`workshop status`",
        ),
        (
            "squeue: error: fetch_config: DNS SRV lookup failed\n"
            "squeue: fatal: Could not establish a configuration source",
            "no slurm.conf.*`workshop up`",
        ),
    ],
)
def test_broken_slurm_names_the_remedy(slurm, err, words):
    slurm("squeue", err=err, code=1)
    with pytest.raises(SlurmError, match=words):
        run_command(["squeue"])


def test_silent_slurm_is_given_up(slurm, tmp_path):
    slurm("squeue")
    (tmp_path / "bin" / "squeue").write_text("#!/bin/bash\nexec sleep 60\n")
    with pytest.raises(SlurmError, match="SLURM is there, but silent"):
        run_command(["squeue"], timeout_s=0.2)


def test_submit_writes_the_folder_and_hands_over_the_script(slurm, base):
    slurm("sbatch", out="12;workshop\n")
    job = submit(submission(ntasks_per_node=2, time_limit_s=300))
    assert job.job_id == 12
    assert job.run_dir.is_relative_to(base)
    request = json.loads((job.run_dir / "job.json").read_text())
    assert (request["job_id"], request["nodes"], request["ntasks_per_node"]) == (12, 2, 2)
    assert request["time_limit_s"] == 300
    assert request["command"][-1] == str(job.run_dir / "job.sh")
    assert f'--chdir="{job.run_dir}"' in (job.run_dir / "job.sh").read_text()
    # the site decides what the preset leaves open
    train = runlog.read_config(job.run_dir).train
    assert (train.device, train.backend) == ("cpu", "gloo")


def test_a_refused_job_is_explained_and_noted(slurm, base):
    slurm(
        "sbatch",
        err="sbatch: error: QOSMaxWallDurationPerJobLimit\n"
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy "
        "(job submit limit, user's size and/or time limits)\n",
        code=1,
    )
    with pytest.raises(JobRefused, match="its time limit is longer than its QOS allows"):
        submit(submission())
    (run_dir,) = (base / "workspace" / "runs").iterdir()
    request = json.loads((run_dir / "job.json").read_text())
    assert request["job_id"] is None
    assert "QOSMaxWallDurationPerJobLimit" in request["refused"]


def test_nothing_is_written_for_a_job_that_cannot_fit(base):
    with pytest.raises(ValueError, match="99 nodes, but site class"):
        submission(nodes=99)
    with pytest.raises(ValueError, match=r"global_batch\(16\)"):
        submission(nodes=3)
    assert not base.exists()


def test_find_job_wants_a_run_folder(slurm, base, tmp_path):
    run_dir = runlog.create_run_dir(tiny())
    slurm("scontrol", out=f"JobId=5 JobName=tiny\n   JobState=RUNNING\n   WorkDir={run_dir}\n")
    assert find_job(5) == Job(5, run_dir)
    slurm("scontrol", out="JobId=5 JobName=mine\n   JobState=RUNNING\n   WorkDir=/usr\n")
    with pytest.raises(ValueError, match="job 5 runs in /usr, which is not a run folder"):
        find_job(5)


def test_nodes_are_read_once_for_each_partition():
    text = (
        "node1|main*|idle|0/4/0/4|4000|gpu:2|none\n"
        "node1|debug|idle|0/4/0/4|4000|gpu:2|none\n"
        "node2|main*|down*|0/0/4/4|4000|(null)|Not responding\n"
    )
    nodes = parse_nodes(text)
    assert [(each.node, each.partition) for each in nodes][:2] == [
        ("node1", "main"),
        ("node1", "debug"),
    ]
    assert (nodes[2].state, nodes[2].reason, nodes[2].gres) == ("down*", "Not responding", "")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("sbatch: error: invalid partition specified: x\n", "no such partition here: `sinfo`"),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", "no such QOS"),
        (
            "sbatch: error: CPU count per node can not be satisfied\nsbatch: error: Batch job "
            "submission failed: Requested node configuration is not available",
            "no node has that many CPUs",
        ),
        ("sbatch: error: AssocMaxSubmitJobLimit\n", "as many jobs in the queue as your account"),
        ("sbatch: error: something new\n", "It said: something new"),
    ],
)
def test_refusals_are_put_in_words(said, words):
    assert words in explain_refusal(said)


def test_reasons():
    assert "already" not in explain_reason("Resources")
    assert explain_reason("(Priority)").startswith("other jobs are in front")
    assert "UnavailableNodes:node3" in explain_reason("ReqNodeNotAvail,UnavailableNodes:node3")
    assert explain_reason("BrandNewReason") == "BrandNewReason"
    assert never_starts("PartitionConfig") and not never_starts("Resources")


def test_own_user_is_the_system_s_name_for_me(monkeypatch):
    monkeypatch.setenv("USER", "somebody-else")
    assert client.own_user() != "somebody-else" or os.getuid() < 0
