"""Receipts: an honest one is accepted, each forgery is refused for the reason it deserves."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from course_lib.config import RunConfig
from course_lib.grade.receipts import Verdict, Wanted, check_receipt
from course_lib.parallel.launch import run_ranks
from course_lib.presets import tiny
from course_lib.runlog import create_run_dir, write_json
from course_lib.slurm.accounting import FIELDS, parse_record, parse_records
from course_lib.train.loop import train, train_on
from course_lib.train.receipt import receipt_left, seal
from course_lib.train.stopping import Stopped

END = "<end>"
JOB, USER, RANKS = 7, "ada", 4
WANTED = Wanted(nodes=4, ranks=4, config={"layout.dp": 4, "train.steps": 20})


def small_run(corpus: Path, **changes: Any) -> RunConfig:
    run = tiny()
    return dataclasses.replace(
        run,
        data=dataclasses.replace(run.data, corpus=str(corpus)),
        train=dataclasses.replace(run.train, device="cpu", sample_tokens=0, **changes),
    )


@pytest.fixture(autouse=True)
def workshop(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    # One for all tests: the data is prepared once.
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path_factory.getbasetemp() / "receipts"))
    for name in ("RANK", "WORLD_SIZE", "SLURM_JOB_ID", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def trained(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of four ranks that took themselves for a job's, each on a node of its own."""
    base = tmp_path_factory.getbasetemp() / "receipts"
    run = small_run(small_corpus)

    def rank(mesh) -> None:
        os.environ |= {
            "SLURM_JOB_ID": str(JOB),
            "SLURM_STEP_ID": "0",
            "SLURM_JOB_USER": USER,
            "SLURMD_NODENAME": f"node{mesh.rank + 1}",
            "WORLD_SIZE": str(mesh.world_size),
        }
        with receipt_left(run_dir, run, mesh.rank):
            train_on(mesh, run_dir)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKSHOP_BASE", str(base))
        run_dir = create_run_dir(run)
        run_ranks(rank, RANKS, timeout_s=120)
    return run_dir


@dataclasses.dataclass
class Case:
    """A copy of the honest run, and what accounting says; a forgery changes either."""

    run_dir: Path
    receipt: dict[str, Any]
    rows: dict[str, dict[str, str]]
    user: str = USER
    since_s: float = 0.0

    def save(self) -> None:
        write_json(self.run_dir / "receipt.json", self.receipt)

    def verdict(self, **options: Any) -> Verdict:
        def ask(job_id: int):
            rows = [
                row for row in self.rows.values() if int(row["JobIDRaw"].split(".")[0]) == job_id
            ]
            text = "".join("".join(row[name] + END for name in FIELDS) + "\n" for row in rows)
            return parse_record(text, END)

        given = {"user": self.user, "since_s": self.since_s, "wanted": WANTED} | options
        return check_receipt(self.run_dir, ask=ask, **given)


@pytest.fixture
def case(trained: Path, tmp_path: Path) -> Case:
    run_dir = tmp_path / trained.name
    shutil.copytree(trained, run_dir)
    receipt = json.loads((run_dir / "receipt.json").read_text())
    times = {"Start": str(int(receipt["start_s"]) - 2), "End": str(int(receipt["end_s"]) + 2)}
    srun = f"srun --nodes=4 --ntasks=4 torchrun --nproc-per-node=1 -m course_lib.train {run_dir}"

    def row(number: str, **values: str) -> dict[str, str]:
        every = dict.fromkeys(FIELDS, "") | {"State": "COMPLETED", "ExitCode": "0:0"} | times
        return every | {"JobIDRaw": number, "NodeList": "node[1-4]"} | values

    return Case(
        run_dir=run_dir,
        receipt=receipt,
        rows={
            "job": row(f"{JOB}", User=USER, JobName="tiny", WorkDir=str(run_dir)),
            "batch": row(f"{JOB}.batch", NTasks="1", NodeList="node1", JobName="batch"),
            "step": row(f"{JOB}.0", NTasks="4", JobName="torchrun", SubmitLine=srun),
            "seal": row(f"{JOB}.1", NTasks="1", NodeList="node1", JobName=seal(receipt)),
        },
        since_s=float(times["Start"]) - 60,
    )


def test_a_receipt_from_before_held_out_losses_is_still_accepted(case: Case) -> None:
    del case.receipt["held_out_loss"]
    case.rows["seal"]["JobName"] = seal(case.receipt)
    case.save()
    assert case.verdict().accepted


def test_the_honest_receipt_is_accepted(case: Case) -> None:
    verdict = case.verdict()
    assert verdict.accepted, verdict.reasons
    assert verdict.skipped == ()
    assert case.receipt["nodes"] == ["node1", "node2", "node3", "node4"]
    assert case.receipt["ranks"] == RANKS
    assert case.receipt["layout"]["dp"] == RANKS
    assert [case.receipt[f"{which}_loss"]["step"] for which in ("first", "last")] == [1, 20]
    assert case.receipt["held_out_loss"]["step"] == 20
    assert case.receipt["bytes_by_axis"]["dp"] > 0
    assert 0 < case.receipt["step_s"] < 60
    assert case.receipt["code"].keys() == {"commit", "dirty", "note"}


def edited_first_loss(case: Case) -> None:
    case.receipt["first_loss"]["loss"] -= 0.001


def edited_last_loss(case: Case) -> None:
    case.receipt["last_loss"]["loss"] = 0.5


def edited_held_out_loss(case: Case) -> None:
    case.receipt["held_out_loss"]["loss"] -= 0.5


def edited_step_time(case: Case) -> None:
    case.receipt["step_s"] /= 3


def edited_nodes(case: Case) -> None:
    case.receipt["nodes"] = ["node1", "node2", "node3", "node8"]


def neighbours_receipt(case: Case) -> None:
    case.user = "bob"


def older_job_replayed(case: Case) -> None:
    case.since_s = float(case.rows["job"]["End"]) + 3600


def job_of_another_run(case: Case) -> None:
    case.rows["job"]["WorkDir"] += "-2"


def one_rank_posing_as_four(case: Case) -> None:
    case.rows["step"] |= {"NTasks": "1", "NodeList": "node1"}
    case.rows["job"]["NodeList"] = "node1"
    case.receipt["nodes"] = ["node1"] * 4


def another_configuration(case: Case) -> None:
    path = case.run_dir / "config.json"
    path.write_text(path.read_text().replace('"steps": 20', '"steps": 21'))


def failed_run(case: Case) -> None:
    case.receipt["exit_cause"] = "failed: NotFinite: step 3"
    case.rows["job"] |= {"State": "FAILED", "ExitCode": "1:0"}


def missing_job(case: Case) -> None:
    case.rows.clear()


def clock_set_back(case: Case) -> None:
    case.receipt["start_s"] -= 86400
    case.receipt["end_s"] -= 86400


def written_by_hand(case: Case) -> None:
    case.receipt = {"job_id": str(JOB), "user": USER, "first_loss": 6.2, "last_loss": 1.0}


def job_still_running(case: Case) -> None:
    case.rows["job"] |= {"State": "RUNNING", "End": "Unknown"}


def not_started_by_srun(case: Case) -> None:
    del case.rows["step"]


def another_layout(case: Case) -> None:
    case.receipt["layout"]["zero"] = 1


def no_losses(case: Case) -> None:
    case.receipt |= {"first_loss": None, "last_loss": None}


def a_rank_too_many(case: Case) -> None:
    case.receipt["nodes"].append("node1")


def made_up_after_the_end(case: Case) -> None:
    """The writer knows every rule but can have no seal: the job is over."""
    case.receipt["code"]["dirty"] = not case.receipt["code"]["dirty"]


FORGERIES: dict[Callable[[Case], None], tuple[str, ...]] = {
    edited_first_loss: (
        "first step's loss is .* but the receipt says",
        "first loss is .* but metrics.jsonl has",
        "not the one that job 7 sealed",
    ),
    edited_last_loss: (
        "last loss is 0.5 at step 20, but metrics.jsonl has",
        "not the one that job 7 sealed",
    ),
    edited_held_out_loss: (
        "held-out loss is .* but metrics.jsonl has",
        "not the one that job 7 sealed",
    ),
    edited_step_time: ("not the one that job 7 sealed",),
    edited_nodes: (
        "ran on node1, node2, node3, node8, but the job had node1, node2, node3, node4",
        "not the one that job 7 sealed",
    ),
    neighbours_receipt: ("receipt is ada's, not yours", "Job 7 is ada's, not yours"),
    older_job_replayed: ("before this task was given out",),
    job_of_another_run: ("not in this run folder",),
    one_rank_posing_as_four: (
        "wants 4 nodes, the run had 1",
        r"says 4 ranks, but srun started 1 task x --nproc-per-node 1 = 1",
        "not the one that job 7 sealed",
    ),
    another_configuration: (
        "config.json is not the one that was trained",
        "wants train.steps 20, the run had 21",
    ),
    failed_run: (
        r"did not finish \(failed: NotFinite: step 3\)",
        "ended as FAILED .exit code 1:0.",
        "not the one that job 7 sealed",
    ),
    missing_job: ("SLURM knows no job 7",),
    clock_set_back: ("but SLURM's clock says that job 7", "not the one that job 7 sealed"),
    written_by_hand: ("was not written by the trainer: step_id, nodes, .* missing",),
    job_still_running: (r"Job 7 has not ended \(RUNNING\): wait for it",),
    not_started_by_srun: ("SLURM knows no step 0 of job 7",),
    another_layout: ("layout is not that of config.json", "not the one that job 7 sealed"),
    no_losses: (
        "has no loss of step 1",
        "first loss is none, but metrics.jsonl has 6",
        "last loss is none, but metrics.jsonl has",
        "not the one that job 7 sealed",
    ),
    a_rank_too_many: ("names a node for 5 ranks but claims 4", "not the one that job 7 sealed"),
    made_up_after_the_end: ("not the one that job 7 sealed",),
}


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_a_forgery_is_refused_with_all_its_reasons_and_no_other(
    case: Case, forge: Callable[[Case], None]
) -> None:
    forge(case)
    case.save()
    reasons, expected = case.verdict().reasons, FORGERIES[forge]
    assert len(reasons) == len(expected), reasons
    for pattern, reason in zip(expected, reasons, strict=True):
        assert re.search(pattern, reason), f"{pattern!r} does not match {reason!r}"


@pytest.mark.parametrize(("limit", "accepted"), [(99.0, True), (1.0, False)])
def test_a_run_that_has_not_learned_enough_is_refused(
    case: Case, limit: float, accepted: bool
) -> None:
    wanted = dataclasses.replace(WANTED, last_loss_below=limit)
    verdict = case.verdict(wanted=wanted)
    assert verdict.accepted == accepted
    if not accepted:
        (reason,) = verdict.reasons
        assert re.match(
            r"The last loss is \d\.\d{3} nats per token, and the task wants less than 1:", reason
        )


def test_a_last_loss_made_up_to_please_is_refused(case: Case) -> None:
    case.receipt["last_loss"]["loss"] = 0.5
    case.save()
    verdict = case.verdict(wanted=dataclasses.replace(WANTED, last_loss_below=1.0))
    assert any("sealed" in reason for reason in verdict.reasons)


def test_without_steps_in_accounting_the_seal_is_skipped_and_said_so(case: Case) -> None:
    for name in ("batch", "step", "seal"):
        del case.rows[name]
    verdict = case.verdict()
    assert verdict.accepted, verdict.reasons
    assert "keeps no steps" in verdict.skipped[0]


def test_a_job_that_sealed_nothing_is_refused(case: Case) -> None:
    del case.rows["seal"]
    (reason,) = case.verdict().reasons
    assert "Job 7 sealed no receipt" in reason


def test_a_copied_folder_is_judged_by_where_it_was(case: Case, tmp_path: Path) -> None:
    shutil.copytree(case.run_dir, tmp_path / "collected")
    ran_in, case.run_dir = case.run_dir, tmp_path / "collected"
    (reason,) = case.verdict().reasons
    assert "not in this run folder" in reason
    assert case.verdict(ran_in=ran_in).accepted


RESUMED = dataclasses.replace(WANTED, resumed=True)


def lives_of(case: Case, *states: str):
    """What `sacct -D -X` says: a row for each start, the last one as the job's own row."""

    def ask(job_id: int):
        rows = [case.rows["job"] | {"State": state} for state in states] + [case.rows["job"]]
        text = "".join("".join(row[name] + END for name in FIELDS) + "\n" for row in rows)
        return parse_records(text, END)

    return ask


def test_a_run_that_lost_a_node_and_went_on_is_accepted(case: Case) -> None:
    case.receipt["resumed_from_step"] = 8
    case.rows["seal"]["JobName"] = seal(case.receipt)
    case.save()
    for state in ("NODE_FAIL", "REQUEUED"):
        verdict = case.verdict(wanted=RESUMED, ask_lives=lives_of(case, state))
        assert verdict.accepted, verdict.reasons


def test_a_run_that_nothing_happened_to_has_survived_nothing(case: Case) -> None:
    (reason,) = case.verdict(wanted=RESUMED, ask_lives=lives_of(case)).reasons
    assert "Job 7 was never interrupted: accounting knows one start of it" in reason


def test_a_run_that_began_anew_has_not_survived(case: Case) -> None:
    assert case.receipt["resumed_from_step"] == 0
    (reason,) = case.verdict(wanted=RESUMED, ask_lives=lives_of(case, "NODE_FAIL")).reasons
    assert "was interrupted (NODE_FAIL), but then began at step 1 again" in reason


def test_to_write_into_the_receipt_that_it_went_on_breaks_the_seal(case: Case) -> None:
    case.receipt["resumed_from_step"] = 8
    case.save()
    (reason,) = case.verdict(wanted=RESUMED, ask_lives=lives_of(case, "NODE_FAIL")).reasons
    assert "not the one that job 7 sealed" in reason


def test_rows_made_up_in_a_name_are_no_rows(case: Case) -> None:
    case.rows["step"]["JobName"] = f"torchrun\n{JOB}.2|{USER}|COMPLETED|0:0|1|2|node1|9|x|y|z|\n"
    case.rows["step"]["NTasks"] = "4"
    assert case.verdict().accepted


def test_no_receipt_and_no_json(case: Case) -> None:
    (case.run_dir / "receipt.json").write_text("{")
    assert "is no receipt" in case.verdict().reasons[0]
    (case.run_dir / "receipt.json").unlink()
    assert "has no receipt.json" in case.verdict().reasons[0]


def test_a_run_on_a_laptop_leaves_a_receipt_without_a_job(small_corpus: Path) -> None:
    run_dir = create_run_dir(small_run(small_corpus))
    train(run_dir)
    receipt = json.loads((run_dir / "receipt.json").read_text())
    assert receipt["job_id"] is None
    assert receipt["step_id"] is None
    assert receipt["exit_cause"] == "finished"
    verdict = check_receipt(run_dir, user=receipt["user"], since_s=0.0)
    (reason,) = verdict.reasons
    assert "was no job of the cluster" in reason


def test_a_failed_run_leaves_a_receipt_and_a_new_start_sets_it_aside(small_corpus: Path) -> None:
    run_dir = create_run_dir(small_run(small_corpus, lr=1e30, warmup_steps=0))
    with pytest.raises(FloatingPointError):
        train(run_dir)
    receipt = json.loads((run_dir / "receipt.json").read_text())
    assert receipt["exit_cause"].startswith("failed: NotFinite: step ")
    with pytest.raises(FloatingPointError):
        train(run_dir)
    assert (run_dir / "earlier_attempts" / "1" / "receipt.json").is_file()


def test_a_stopped_run_says_so(small_corpus: Path) -> None:
    run = small_run(small_corpus)
    run_dir = create_run_dir(run)
    with contextlib.suppress(Stopped), receipt_left(run_dir, run, rank=0):
        raise Stopped(signal.SIGUSR1, saved_step=12)
    receipt = json.loads((run_dir / "receipt.json").read_text())
    assert receipt["exit_cause"].startswith("stopped: SIGUSR1: time nearly over; step 12 is saved")
    assert receipt["first_loss"] is None
