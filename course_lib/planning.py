"""`workshop plan`: which layout, how long, how much memory, how much money. No torch.

The counting is in plan/: search.py tries all layouts, forecast.py says what the best ones cost,
nearest.py what is possible where none is. Here the question is read from the command line, the
answer printed as tables or JSON, and the job for the chosen layout written from a site file.
"""

import dataclasses
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from course_lib.config import RunConfig
from course_lib.forecasts import compare_runs, comparison_table
from course_lib.places import base_dir, runs_dir
from course_lib.plan.calibration import read_calibration
from course_lib.plan.candidates import Reason, Request
from course_lib.plan.constants import constants_hash
from course_lib.plan.forecast import Forecast, forecasts, mesh_words, why_slower
from course_lib.plan.hardware import Hardware, find_hardware, this_machine
from course_lib.plan.models import planned_run
from course_lib.plan.nearest import alternatives, what_failed
from course_lib.plan.score import score_file
from course_lib.plan.search import Search, search
from course_lib.plan.software import TORCH, find_software
from course_lib.runlog import write_text
from course_lib.slurm.client import plan_submission
from course_lib.slurm.notation import format_duration
from course_lib.slurm.script import SCRIPT_NAME
from course_lib.slurm.site import Site, load_site

SIZES = ("dp", "pp", "tp", "sp", "virtual_stages", "micro_batch", "zero", "recompute")
"""What `--why` may name."""


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Find the fastest layouts of a model on so many GPUs, and what training takes with each."""

    model: str | None = None
    """What to train: a preset, gpt_1_7b to gpt_1008b (the lecture's ten) or gpt_175b."""
    gpus: int | None = None
    """How many GPUs."""
    gpu: str = "a100-80gb"
    """Which: a name such as h100-80gb, or this-machine (what `workshop calibrate` measured)."""
    tokens: float | None = None
    """Tokens to train on, such as 300e9; left out, the model's own number."""
    global_batch: int | None = None
    """Sequences per step; left out, the model's own number."""
    price: float | None = None
    """USD per GPU and hour; left out, a range."""
    software: str | None = None
    """What trains: torch (also this course's trainer), megatron-2022 or megatron-2021; left out,
    torch, and megatron-2022 for --score."""
    offload: bool = False
    """Master weights and the optimizer's state lie in the host's memory."""
    tp_across_nodes: bool = False
    """Tensor parallel groups may reach beyond a node."""
    precision: Literal["float32", "bf16", "fp16"] | None = None
    """Type of weights and activations; left out, the model's own."""
    stack: float = 1.0
    """Factor over all times for the age of the software: above 1 is slower."""
    show: int = 10
    """Layouts to show at most."""
    why: str | None = None
    """What becomes of a certain layout, such as tp=8,pp=16 or tp=16,micro_batch=2."""
    score: str | None = None
    """Compare with measured runs instead: a CSV file with a row for each."""
    runs: bool = False
    """Show your own runs instead, each beside its forecast, and draw them (forecasts.png)."""
    sbatch: str | None = None
    """Write the best layout's run and its job script into this folder."""
    site: str | None = None
    """For --sbatch: site name or .toml file; left out, $WORKSHOP_SITE or the class cluster."""
    json: bool = False
    """Print JSON for programs."""


def plan(options: PlanOptions) -> int:
    """Answer the question and return the exit code.

    Raises:
        ValueError: a name or number is wrong, or nothing can run; the message has what could.
    """
    if options.score is not None:
        return _score(options)
    if options.runs:
        return _runs(options)
    if options.model is None or options.gpus is None:
        raise ValueError(
            "name a model and a number of GPUs: workshop plan --model gpt_175b --gpus 1024 "
            "--gpu a100-80gb (or measured runs to compare with: --score FILE.csv)"
        )
    if options.show < 1:
        raise ValueError(f"show is {options.show}, but at least one layout has to be shown")
    run = planned_run(options.model)
    site = load_site(options.site) if options.sbatch is not None else None
    request = request_of(options, run, site)
    tokens = options.tokens
    if tokens is None:
        tokens = float(run.train.steps * run.train.global_batch * run.model.seq_len)
    if not (tokens > 0 and math.isfinite(tokens)):
        raise ValueError(f"tokens is {tokens:g}, but training needs some: give a number above 0")
    if options.price is not None and not 0 <= options.price < math.inf:
        raise ValueError(f"price is {options.price:g}, but it is USD an hour: give 0 or more")

    start_s = time.perf_counter()
    found = search(request)
    took_s = time.perf_counter() - start_s
    if not len(found.ranked):
        return _impossible(options, request, found)
    price = None if options.price is None else (options.price, options.price)
    indices, times = found.best(options.show)
    shown = forecasts(found, indices, tokens=tokens, times=times, price_per_hour=price)
    reasons = _why(options.why, found, shown[0], tokens) if options.why else []
    written: list[str] = []
    if site is not None and options.sbatch is not None:
        written = write_job(Path(options.sbatch), run, shown[0], request, site)
    if options.json:
        print(json.dumps(to_json(options, found, shown, tokens, reasons), indent=2))
        return 0
    from course_lib.planning_tables import show

    words = {"price": options.price, "took_s": took_s, "reasons": reasons}
    show(options.model, found, shown, tokens=tokens, **words)
    print("".join(f"{line}\n" for line in written), end="")
    return 0


def request_of(options: PlanOptions, run: RunConfig, site: Site | None = None) -> Request:
    """Return the question as the search takes it; a site's nodes decide how far tp may reach.

    Raises:
        ValueError: no such GPU, no calibration, or a job that the trainer or the site cannot run.
    """
    assert options.gpus is not None
    hardware, batch = _hardware(options.gpu), options.global_batch
    software, grad_dtype = find_software(options.software or "torch"), run.train.grad_dtype
    if software is not TORCH:  # the run says what this course's trainer does
        grad_dtype = "bf16" if software.grad_bytes == 2 else "float32"
    if site is not None:
        if software is not TORCH:
            raise ValueError(
                f"--sbatch starts this course's trainer, not {software.name}: leave out --software"
            )
        if options.offload:
            raise ValueError(
                "--sbatch starts this course's trainer, which keeps all on the GPU: leave out "
                "--offload, or cut the optimizer's state with more replicas"
            )
        if site.device == "cpu" and options.gpu != "this-machine":
            raise ValueError(
                f"site {site.name} has no GPUs, but the plan is for {options.gpu}: name a site "
                "file with GPUs by --site, or plan for --gpu this-machine"
            )
        hardware = dataclasses.replace(hardware, gpus_per_node=_ranks_per_node(site))
    return Request(
        model=run.model,
        num_gpus=options.gpus,
        hardware=hardware,
        global_batch=run.train.global_batch if batch is None else batch,
        precision=options.precision or run.train.precision,
        grad_dtype=grad_dtype,
        software=software,
        offload=options.offload,
        tp_across_nodes=options.tp_across_nodes,
        stack=options.stack,
    )


def to_json(
    options: PlanOptions,
    found: Search,
    shown: list[Forecast],
    tokens: float,
    reasons: list[str],
) -> dict[str, Any]:
    """Return the whole answer, for programs: sizes in bytes, times in seconds."""
    return {
        "model": options.model,
        "gpus": found.request.num_gpus,
        "gpu": found.request.hardware.name,
        "global_batch": found.request.global_batch,
        "tokens": tokens,
        "constants": constants_hash(),
        "candidates": len(found.reasons),
        "legal": len(found.ranked),
        "rejected": {
            reason.name.lower(): count for reason, count in found.counts().items() if reason
        },
        "layouts": [each.to_json() for each in shown],
        "runner_up": why_slower(shown[0], shown[1]) if len(shown) > 1 else None,
        "why": reasons,
    }


def write_job(
    folder: Path, run: RunConfig, chosen: Forecast, request: Request, site: Site
) -> list[str]:
    """Write config.json and job.sh for a layout; return what to tell the person.

    Raises:
        ValueError: the folder holds something, or the job does not fit the site; nothing is
            written.
    """
    folder = folder.expanduser().resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"--sbatch {folder}: it is there and not empty: name a new folder")
    tp, gpus = chosen.layout.tp, request.num_gpus
    even = [n for n in range(1, _ranks_per_node(site) + 1) if gpus % n == 0]
    per_node = max([n for n in even if n % tp == 0] or even)  # tp groups within nodes if they can
    train = dataclasses.replace(
        run.train,
        global_batch=request.global_batch,
        micro_batch=chosen.micro_batch,
        steps=chosen.steps,
        warmup_steps=min(run.train.warmup_steps, chosen.steps - 1),
        precision=request.precision,
    )
    # A job that reaches its limit saves and goes back to the queue; a short one asks for less.
    needed_s = 1.2 * chosen.steps * chosen.step_s + 600
    submission = plan_submission(
        dataclasses.replace(run, layout=chosen.layout, train=train),
        site=site,
        nodes=gpus // per_node,
        ntasks_per_node=per_node,
        time_limit_s=int(min(needed_s, site.max_time_min * 60)),
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.json", submission.run.to_json())
    write_text(folder / SCRIPT_NAME, submission.script(folder))
    limit = format_duration(submission.time_limit_s)
    return [
        f"wrote {folder / SCRIPT_NAME}: {submission.nodes} nodes x {per_node} ranks of site "
        f"{site.name}, {limit}",
        f"its text, once: workshop data --vocab-size {run.model.vocab_size}",
        f"send it with: sbatch {folder / SCRIPT_NAME}",
    ]


def _ranks_per_node(site: Site) -> int:
    return site.gpus_per_node or site.cpus_per_node // site.cpus_per_rank


def _hardware(name: str) -> Hardware:
    if name != "this-machine":
        return find_hardware(name)
    return this_machine(read_calibration(base_dir() / "calibration.json"))


def _impossible(options: PlanOptions, request: Request, found: Search) -> int:
    """Answer with what is possible instead."""
    others = alternatives(request)
    failed = what_failed(found)
    if options.json:
        nearest = [
            {
                "gpus": each.request.num_gpus,
                "gpu": each.request.hardware.name,
                "global_batch": each.request.global_batch,
                "offload": each.request.offload,
            }
            for each in others
        ]
        print(json.dumps({"layouts": [], "failed": failed, "nearest": nearest}, indent=2))
        return 2
    instead = "; ".join(each.words for each in others) or "none that was tried"
    raise ValueError(
        f"{options.model} cannot be trained on {request.num_gpus} x {request.hardware.name} with a "
        f"global batch of {request.global_batch}: {failed}. Nearest that can: {instead}"
    )


def _why(text: str, found: Search, best: Forecast, tokens: float) -> list[str]:
    """Say what became of the layouts with certain sizes: their place, or why they are out."""
    indices = found.matching(_sizes(text))
    if not len(indices):
        return [f"{text}: no candidate; dp x pp x tp must be {found.request.num_gpus}"]
    fastest, times = found.best(1, indices)
    lines = []
    if len(fastest):
        other = forecasts(found, fastest, tokens=tokens, times=times)[0]
        place = int(np.flatnonzero(found.ranked == fastest[0])[0]) + 1
        legal = int(np.isin(found.ranked, indices).sum())
        lines.append(
            f"{text}: {legal:,} of {len(indices):,} are legal; the fastest has place {place:,} of "
            f"{len(found.ranked):,}: {other.step_s:.2f} s, {_settings(other)}"
        )
        if other.step_s > best.step_s:
            lines.append(why_slower(best, other))
    else:
        lines.append(f"{text}: none of {len(indices):,} is legal")
    for reason in Reason:
        broke = indices[found.reasons[indices] == reason]
        if reason and len(broke):
            least = broke[found.memory_bytes[broke].argmin()]
            lines.append(f"{len(broke):,} out: {reason.words}, as {found.why(int(least))}")
    return lines


def _settings(forecast: Forecast) -> str:
    layout = forecast.layout
    return (
        f"{mesh_words(layout)}, virtual stages {layout.virtual_stages}, micro-batch "
        f"{forecast.micro_batch}, sp {'on' if layout.sp else 'off'}, zero {layout.zero}, recompute "
        f"{layout.recompute}"
    )


def _sizes(text: str) -> dict[str, int]:
    """Read `tp=8,recompute=full` as the numbers of plan/cases.py."""
    words = {"none": 0, "selective": 1, "full": 2, "on": 1, "off": 0}
    sizes = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in SIZES or not (value in words or value.isdecimal()):
            raise ValueError(
                f"--why {text}: {part.strip()!r} is not NAME=NUMBER with a name of: "
                f"{', '.join(SIZES)}"
            )
        sizes[name] = words[value] if value in words else int(value)
    return sizes


def _score(options: PlanOptions) -> int:
    assert options.score is not None
    score = score_file(
        Path(options.score).expanduser(),
        hardware=_hardware(options.gpu),
        software=None if options.software is None else find_software(options.software),
        stack=options.stack,
    )
    print(json.dumps(score.to_json(), indent=2) if options.json else score.describe())
    return 0


def _runs(options: PlanOptions) -> int:
    """Show all runs that had a forecast beside what they took."""
    # The runs of a series lie in a folder of their own.
    folders = [folder for deep in ("*/", "*/*/") for folder in runs_dir().glob(deep)]
    compared = compare_runs(folders)
    if options.json:
        print(json.dumps([each.to_json() for each in compared], indent=2))
        return 0
    if not compared:
        raise ValueError(
            f"no run in {runs_dir()} has a forecast: measure this cluster with `workshop calibrate "
            "--nodes 4`, then submit or train"
        )
    print(comparison_table(compared))
    if any(each.measured_s for each in compared):
        from course_lib.plots import png_bytes
        from course_lib.plots_plan import forecast_figure

        path = base_dir() / "forecasts.png"
        path.write_bytes(png_bytes(forecast_figure(compared)))
        print(f"wrote {path}")
    return 0
