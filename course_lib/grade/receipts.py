"""Is a receipt true? Held against SLURM's accounting and against the first step, done again.

    receipt.json   sealed by a step of its job (train/receipt.py): later edits do not fit the seal
    accounting     who ran the job, when, on which nodes, in how many tasks, and how it ended
    config, seed   give the first step's loss, which is computed anew in this process

Grading so takes seconds though the job took minutes. Run it in a process that the learner cannot
reach. What it cannot see: how many of the ranks that one srun task promises to start
(`--nproc-per-node`) did start; a job that made up its last loss and sealed that while it ran; and
anything on a cluster whose accounting the learner owns, as that of his or her own laptop.
"""

import dataclasses
import functools
import json
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from course_lib.config import RunConfig
from course_lib.layout import check_layout
from course_lib.model.gpt import GPT, summed_token_loss
from course_lib.model.init import init_weights
from course_lib.runlog import config_digest, read_config, read_metrics
from course_lib.slurm.accounting import JobRecord, StepRecord, ask_lives, ask_record
from course_lib.train.corpus import prepare_data
from course_lib.train.prepare import open_windows
from course_lib.train.receipt import held_out_loss, seal
from course_lib.train.slow import slowed_model

TOLERANCE = {"float32": 1e-5, "bf16": 1e-4, "fp16": 1e-4}
"""How far, relatively, an honest first loss may be from ours, by the precision it was computed in.

Measured on tiny and nano in four layouts: 2e-8 in float32 and 1e-5 in bf16; another seed is off by
3e-4 or more."""
CLOCKS_APART_S = 30.0
"""So far a node's clock may be from SLURM's."""
SUBMIT_AGAIN = "submit the run again and hand in its new folder, unchanged"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the task asks of a run."""

    nodes: int | None = None
    """Nodes of the job; left out, any number."""
    ranks: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the configuration by their dotted names, as in {"layout.tp": 2}; dp filled in."""
    last_loss_below: float | None = None
    """The last step's loss, nats per token, must be less; left out, any will do."""
    resumed: bool = False
    """Whether SLURM must have started it again, and the run have gone on from a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a receipt."""

    reasons: tuple[str, ...]
    """Why it is refused, each with the remedy; empty if it is accepted."""
    skipped: tuple[str, ...] = ()
    """What could not be checked on this cluster."""

    @property
    def accepted(self) -> bool:
        return not self.reasons


def check_receipt(
    run_dir: Path,
    *,
    user: str,
    since_s: float,
    wanted: Wanted | None = None,
    ran_in: Path | None = None,
    ask: Callable[[int], JobRecord | None] = ask_record,
    ask_lives: Callable[[int], list[JobRecord]] = ask_lives,
) -> Verdict:
    """Judge a run folder's receipt and tell every reason to refuse it.

    Args:
        run_dir: the run folder, or a copy of it.
        user: the learner's name on the cluster.
        since_s: when the task was given out, seconds since 1970: earlier jobs do not count.
        wanted: what the task asks for.
        ran_in: where the run folder was when the job ran, if this is a copy.
        ask: gives accounting's record of a job, None if there is none.
        ask_lives: gives its record of each start of a job; asked only where that matters.

    Raises:
        SlurmError: accounting cannot be asked.
    """
    run_dir, wanted = Path(run_dir), wanted or Wanted()
    try:
        receipt = read_receipt(run_dir)
        run = read_config(run_dir)
    except ValueError as error:
        return Verdict(reasons=(str(error),))
    reasons = _check_config(receipt, run, wanted)
    if not reasons:  # another configuration has another first loss, and may be too large for us
        reasons += _check_first_loss(receipt, run)
    reasons += _check_losses(receipt, run_dir) + _check_last_loss(receipt, wanted)
    if receipt["exit_cause"] != "finished":
        reasons.append(
            f"The run did not finish ({receipt['exit_cause']}): mend the cause, then {SUBMIT_AGAIN}"
        )
    if receipt["user"] != user:
        reasons.append(
            f"The receipt is {receipt['user']}'s, not yours ({user}): hand in a run of your own"
        )
    skipped: list[str] = []
    if receipt["job_id"] is None:
        reasons.append(
            "The run was no job of the cluster (`workshop train`): start it with `workshop submit`"
        )
        return Verdict(reasons=tuple(reasons))
    job = ask(int(receipt["job_id"]))
    if job is None:
        reasons.append(
            f"SLURM knows no job {receipt['job_id']} (`sacct -j {receipt['job_id']}`): "
            f"{SUBMIT_AGAIN}"
        )
        return Verdict(reasons=tuple(reasons))
    folder = (ran_in or run_dir).resolve()
    reasons += _check_job(job, user=user, since_s=since_s, folder=folder)
    reasons += _check_times(receipt, job)
    if wanted.resumed:
        reasons += _check_lives(receipt, job, ask_lives(job.job_id))
    if job.steps:
        step = job.steps.get(str(receipt["step_id"]))
        reasons += _check_step(receipt, job, step)
        reasons += _check_seal(receipt, job)
    else:
        skipped.append(
            "this cluster's accounting keeps no steps (AccountingStorageEnforce=nosteps), so the "
            "number of ranks and the seal of the receipt were not checked"
        )
        reasons += _check_nodes(receipt, job.nodes)
    return Verdict(reasons=tuple(reasons), skipped=tuple(skipped))


def recompute_first_loss(run: RunConfig) -> float:
    """Return the mean token loss of step 1, nats: from config and seed alone, in this process."""
    folder = prepare_data(run.data.corpus, run.model.vocab_size, val_fraction=run.data.val_fraction)
    windows, _ = open_windows(run, folder)
    config = slowed_model(run)
    model = GPT(config)
    init_weights(model, config, run.train.seed)
    batch = windows.read(windows.of_step(0, run.train.global_batch))  # (B, T + 1)
    total = 0.0
    with torch.no_grad():
        for tokens in batch.split(run.train.micro_batch):
            total += float(summed_token_loss(model(tokens[:, :-1]), tokens[:, 1:]))
    return total / batch[:, 1:].numel()


def _is_loss(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("step"), int)
        and isinstance(value.get("loss"), float)
        and math.isfinite(value["loss"])
    )


def _is_number(value: Any) -> bool:
    return (
        value is None or isinstance(value, str) and re.fullmatch("[0-9]{1,12}", value) is not None
    )


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "job_id": _is_number,
    "step_id": _is_number,
    "user": lambda value: isinstance(value, str),
    "nodes": lambda value: isinstance(value, list) and all(isinstance(n, str) for n in value),
    "ranks": lambda value: isinstance(value, int) and value > 0,
    "layout": lambda value: isinstance(value, dict),
    "config_sha256": lambda value: isinstance(value, str),
    # A run that failed at its start has none.
    "first_loss": lambda value: value is None or _is_loss(value),
    "last_loss": lambda value: value is None or _is_loss(value),
    "bytes_by_axis": lambda value: isinstance(value, dict),
    # A run of a few steps has no usual one.
    "step_s": lambda value: value is None or isinstance(value, float) and 0 < value < math.inf,
    "exit_cause": lambda value: isinstance(value, str),
    "code": lambda value: isinstance(value, dict),
    "start_s": lambda value: isinstance(value, float) and math.isfinite(value),
    "end_s": lambda value: isinstance(value, float) and math.isfinite(value),
}


def read_receipt(run_dir: Path) -> dict[str, Any]:
    """Return a run folder's receipt, whose fields are such as the trainer writes.

    Raises:
        ValueError: there is none, or it is none; the message has the remedy.
    """
    path = run_dir / "receipt.json"
    if not path.is_file():
        raise ValueError(
            f"{run_dir.name} has no receipt.json: the trainer leaves one when a run ends; wait for "
            "the job (`workshop watch JOB`), or submit the run again"
        )
    try:
        receipt = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"receipt.json is no receipt ({error}): {SUBMIT_AGAIN}") from None
    if not isinstance(receipt, dict):
        raise ValueError(f"receipt.json is no receipt (not a JSON object): {SUBMIT_AGAIN}")
    wrong = [
        name for name, fits in _FIELDS.items() if name not in receipt or not fits(receipt[name])
    ]
    held_out = receipt.get("held_out_loss")  # older receipts have none, and their seal fits so
    if held_out is not None and not _is_loss(held_out):
        wrong.append("held_out_loss")
    if wrong:
        raise ValueError(
            f"receipt.json was not written by the trainer: {', '.join(wrong)} missing or not what "
            f"the trainer writes there. {SUBMIT_AGAIN.capitalize()}"
        )
    return receipt


def _check_config(receipt: dict[str, Any], run: RunConfig, wanted: Wanted) -> list[str]:
    reasons = []
    if receipt["config_sha256"] != config_digest(run):
        reasons.append(
            "config.json is not the one that was trained (its SHA-256 differs from the receipt's): "
            "put back the one that the job ran with, or submit the run again as it is now"
        )
    for what, number in (("ranks", wanted.ranks), ("nodes", wanted.nodes)):
        had = receipt["ranks"] if what == "ranks" else len(set(receipt["nodes"]))
        if number is not None and had != number:
            reasons.append(
                f"The task wants {number} {what}, the run had {had}: hand in one with {number}"
            )
    try:
        layout = check_layout(run, receipt["ranks"])
    except ValueError as error:
        return [*reasons, f"The layout does not fit the receipt's ranks: {error}"]
    if receipt["layout"] != json.loads(json.dumps(dataclasses.asdict(layout))):
        reasons.append(
            f"The receipt's layout is not that of config.json on {receipt['ranks']} ranks: "
            f"{SUBMIT_AGAIN}"
        )
    filled_in = dataclasses.replace(run, layout=layout)
    for name, value in wanted.config.items():
        had = functools.reduce(getattr, name.split("."), filled_in)
        if had != value:
            reasons.append(
                f"The task wants {name} {value}, the run had {had}: submit it with "
                f"--{name.replace('_', '-')} {value}"
            )
    return reasons


def _check_first_loss(receipt: dict[str, Any], run: RunConfig) -> list[str]:
    first = receipt["first_loss"]
    if first is None or first["step"] != 1:
        return [f"The receipt has no loss of step 1: {SUBMIT_AGAIN}"]
    try:
        loss = recompute_first_loss(run)
    except ValueError as error:
        return [f"The first step could not be computed again: {error}"]
    if math.isclose(first["loss"], loss, rel_tol=TOLERANCE[run.train.precision]):
        return []
    return [
        f"The first step's loss is {loss:.6f} with this configuration and seed, but the receipt "
        f"says {first['loss']:.6f}: hand in the trainer's own numbers; {SUBMIT_AGAIN}"
    ]


def _check_losses(receipt: dict[str, Any], run_dir: Path) -> list[str]:
    try:
        records = read_metrics(run_dir)
        losses = [record for record in records if "loss" in record]
    except ValueError as error:
        return [f"{error}: {SUBMIT_AGAIN}"]
    reasons = []
    for name, position in (("first", 0), ("last", -1)):
        said = receipt[f"{name}_loss"]
        noted = {key: losses[position].get(key) for key in ("step", "loss")} if losses else None
        if said != noted:
            reasons.append(
                f"The receipt's {name} loss is {_words(said)}, but metrics.jsonl has "
                f"{_words(noted)}: one of the two was edited; {SUBMIT_AGAIN}"
            )
    said, noted = receipt.get("held_out_loss"), held_out_loss(records)
    if said is not None and said != noted:
        reasons.append(
            f"The receipt's held-out loss is {_words(said)}, but metrics.jsonl has "
            f"{_words(noted)}: one of the two was edited; {SUBMIT_AGAIN}"
        )
    return reasons


def _check_last_loss(receipt: dict[str, Any], wanted: Wanted) -> list[str]:
    last, limit = receipt["last_loss"], wanted.last_loss_below
    # Without a loss there are reasons enough.
    if limit is None or last is None or last["loss"] < limit:
        return []
    return [
        f"The last loss is {last['loss']:.3f} nats per token, and the task wants less than "
        f"{limit:g}: look at the run's curve, change its learning rate or warm-up, and submit it "
        "again"
    ]


def _words(loss: dict[str, Any] | None) -> str:
    return f"{loss['loss']} at step {loss['step']}" if loss else "none"


def _check_job(job: JobRecord, *, user: str, since_s: float, folder: Path) -> list[str]:
    reasons = []
    if job.user != user:
        reasons.append(
            f"Job {job.job_id} is {job.user}'s, not yours ({user}): hand in a run of your own"
        )
    if job.start_s is not None and job.start_s < since_s:
        reasons.append(
            f"Job {job.job_id} ran at {_clock(job.start_s)}, before this task was given out "
            f"({_clock(since_s)}): submit the run again"
        )
    if Path(job.work_dir).resolve() != folder:
        reasons.append(
            f"Job {job.job_id} ran in {job.work_dir}, not in this run folder ({folder}): hand in "
            "the folder that the job wrote (a script of your own needs #SBATCH --chdir=RUN_FOLDER)"
        )
    if job.end_s is None:
        reasons.append(
            f"Job {job.job_id} has not ended ({job.state}): wait for it with "
            f"`workshop watch {job.job_id}`"
        )
    elif job.state != "COMPLETED":
        reasons.append(
            f"Job {job.job_id} ended as {job.state} (exit code {job.exit_code}): `workshop watch "
            f"{job.job_id}` says why; mend that and submit the run again"
        )
    return reasons


def _check_times(receipt: dict[str, Any], job: JobRecord) -> list[str]:
    began = math.inf if job.start_s is None else job.start_s - CLOCKS_APART_S
    ended = math.inf if job.end_s is None else job.end_s + CLOCKS_APART_S
    if began <= receipt["start_s"] <= receipt["end_s"] <= ended:
        return []
    return [
        f"The receipt says that the run lasted from {_clock(receipt['start_s'])} to "
        f"{_clock(receipt['end_s'])}, but SLURM's clock says that job {job.job_id} lasted from "
        f"{_clock(job.start_s)} to {_clock(job.end_s)}: {SUBMIT_AGAIN}"
    ]


ENDS_OF_A_LIFE = ("NODE_FAIL", "REQUEUED", "PREEMPTED")
"""How accounting says that a job was put back into the queue, and did not just end."""


def _check_lives(receipt: dict[str, Any], job: JobRecord, lives: list[JobRecord]) -> list[str]:
    earlier = [life.state for life in lives if life.state in ENDS_OF_A_LIFE]
    if not earlier:
        return [
            f"Job {job.job_id} was never interrupted: accounting knows one start of it (`sacct -D "
            f"-j {job.job_id}`). Let a run lose a node while it trains, and hand in that one"
        ]
    step = receipt.get("resumed_from_step")
    if isinstance(step, int) and step > 0:
        return []
    return [
        f"Job {job.job_id} was interrupted ({', '.join(earlier)}), but then began at step 1 again: "
        "nothing had been saved. Lose the node after the first checkpoint "
        "(train.checkpoint_every), and hand in that run"
    ]


def _clock(time_s: float | None) -> str:
    if time_s is None or not 0 <= time_s < 2**40:
        return "?"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s))


def _check_step(receipt: dict[str, Any], job: JobRecord, step: StepRecord | None) -> list[str]:
    if step is None:
        return [
            f"SLURM knows no step {receipt['step_id']} of job {job.job_id}: start the trainer with "
            "srun, as the script of `workshop submit` does"
        ]
    per_task = re.search(r"--nproc[-_]per[-_]node[= ](\d+)", step.command)
    ranks = step.tasks * (int(per_task[1]) if per_task else 1)
    reasons = _check_nodes(receipt, step.nodes)
    if receipt["ranks"] != ranks:
        started = f"{step.tasks} task" + "s" * (step.tasks != 1)
        if per_task:
            started += f" x --nproc-per-node {per_task[1]} = {ranks}"
        reasons.append(
            f"The receipt says {receipt['ranks']} ranks, but srun started {started}: submit the "
            "run with as many ranks as it claims (the srun line must show them: --ntasks, or "
            "torchrun's --nproc-per-node)"
        )
    return reasons


def _check_nodes(receipt: dict[str, Any], nodes: tuple[str, ...]) -> list[str]:
    reasons = []
    if set(receipt["nodes"]) != set(nodes):
        reasons.append(
            f"The receipt says that it ran on {', '.join(sorted(set(receipt['nodes'])))}, but the "
            f"job had {', '.join(nodes) or 'no nodes'}: {SUBMIT_AGAIN}"
        )
    if len(receipt["nodes"]) != receipt["ranks"] and receipt["exit_cause"] == "finished":
        reasons.append(
            f"The receipt names a node for {len(receipt['nodes'])} ranks but claims "
            f"{receipt['ranks']}: {SUBMIT_AGAIN}"
        )
    return reasons


def _check_seal(receipt: dict[str, Any], job: JobRecord) -> list[str]:
    if any(step.name == seal(receipt) for step in job.steps.values()):
        return []
    if any(step.name.startswith("receipt-") for step in job.steps.values()):
        return [
            f"receipt.json is not the one that job {job.job_id} sealed: it was changed, or written "
            f"by hand; {SUBMIT_AGAIN}"
        ]
    return [
        f"Job {job.job_id} sealed no receipt, so nothing shows that this one is the trainer's: "
        f"{SUBMIT_AGAIN} (its output says so if the seal failed)"
    ]
