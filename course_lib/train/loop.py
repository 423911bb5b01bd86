"""The training run: a function from a run folder with a config.json to one with a result.

`train` joins the ranks that torchrun started (or runs alone), `train_on` does the work on a mesh
and is also what the tests start with `run_ranks`. The loop itself is `_train_steps`; around it is
what makes a run worth keeping: what ran where, validation before, during and after, a final
checkpoint, a sample of text, and if anything fails a file that names the rank. Lab 02 builds the
loop. Left out on purpose: a Trainer class, callbacks, and resuming from a checkpoint.
"""

import contextlib
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from course_lib.checkpoint import save_checkpoint
from course_lib.config import RunConfig, TrainConfig, check_layout
from course_lib.model.gpt import GPT
from course_lib.model.init import init_weights
from course_lib.parallel import comm
from course_lib.parallel.data import sum_gradients
from course_lib.parallel.launch import connected, set_threads
from course_lib.parallel.mesh import Mesh
from course_lib.parallel.parallelize import ParallelModel, Reduce, parallelize
from course_lib.plan.counts import flops_per_token, num_parameters
from course_lib.profile.timing import measure_peak_flops
from course_lib.runlog import (
    RunLog,
    check_unfinished,
    host_name,
    job_id,
    read_config,
    set_aside_earlier_attempt,
    write_failure,
    write_json,
    write_text,
)
from course_lib.train.corpus import load_tokenizer, prepare_data
from course_lib.train.optim import build_optimizer, learning_rate, set_learning_rate
from course_lib.train.sample import generate
from course_lib.train.step import NotFinite, evaluate, train_step
from course_lib.train.tokens import TokenFile, Windows, share


def train(run_dir: Path) -> None:
    """Train what run_dir/config.json says, on the ranks torchrun started or in this process alone.

    Leaves run_info.json, metrics.jsonl, checkpoints/, tokenizer.json and result.json in the run
    folder; after an exception failed/rank_<R>.json instead of a result.

    Raises:
        ValueError: the configuration does not fit the ranks or the data, or the run is finished.
        NotFinite: the loss or the gradient became infinite or not a number.
    """
    run_dir = Path(run_dir)
    rank = int(os.environ.get("RANK", "0"))
    check_unfinished(run_dir)  # before failures are recorded: a finished run must not look failed
    with _failures_recorded(run_dir, rank), _sigterm_raises():
        if rank == 0:
            set_aside_earlier_attempt(run_dir)
        run = read_config(run_dir)
        check_layout(run, int(os.environ.get("WORLD_SIZE", "1")))
        set_threads()
        device, backend = run.train.device, run.train.backend
        with connected(layout=run.layout, device=device, backend=backend) as mesh:
            train_on(mesh, run_dir)


def train_on(mesh: Mesh, run_dir: Path, *, reduce: Reduce = sum_gradients) -> None:
    """Do the whole run on a mesh that is already connected; every rank calls this.

    Args:
        mesh: this rank's place.
        run_dir: a folder that all ranks see, with a config.json.
        reduce: how gradients are summed over the dp axis; see `parallelize`.
    """
    run = read_config(run_dir)
    layout = check_layout(run, mesh.world_size)
    log = RunLog(run_dir, mesh.rank)
    try:
        data_folder = _shared_data(run, mesh, run_dir, log)
        train_windows, val_windows = _open_windows(run, data_folder)
        model = GPT(run.model)
        init_weights(model, run.model, run.train.seed)
        parallel = parallelize(model, run, mesh, reduce=reduce)
        info = _describe_run(run, mesh, data_folder, log)
        if mesh.rank == 0:
            write_json(run_dir / "run_info.json", info)
        log.say(
            f"{num_parameters(run.model):,} parameters, dp {layout.dp}, "
            f"{run.train.global_batch} x {run.model.seq_len} tokens per step, "
            f"{run.train.steps} steps, peak {info['peak_flops'] / 1e9:.0f} GFLOP/s in all"
        )
        optimizer = build_optimizer(parallel.module, run.train)
        summary = _train_steps(
            parallel, optimizer, run, train_windows, val_windows, log, info["peak_flops"]
        )
        if mesh.rank == 0:
            checkpoint = save_checkpoint(run_dir, run.train.steps, model, optimizer)
            prompt, length = run.train.sample_prompt, run.train.sample_tokens
            tokenizer = load_tokenizer(run_dir)
            sample = generate(model, tokenizer, prompt, length, seed=run.train.seed)
            log.say(
                f"held-out loss {summary['val_loss_first']:.4f} -> "
                f"{summary['val_loss_last']:.4f} in {summary['train_time_s']:.1f} s"
            )
            log.say(f"the model continues {prompt!r}:\n{sample}")
            # Last of all: who finds a result finds everything it speaks of.
            relative = str(checkpoint.relative_to(run_dir))
            outcome = {"status": "completed", **summary, "sample": sample, "checkpoint": relative}
            write_json(run_dir / "result.json", {**outcome, **info})
        # The others stay until rank 0 is done: a launcher may take an early exit for a failure.
        comm.barrier(mesh.dp)
    finally:
        log.close()


def _train_steps(
    parallel: ParallelModel,
    optimizer: torch.optim.Optimizer,
    run: RunConfig,
    train_windows: Windows,
    val_windows: Windows,
    log: RunLog,
    peak_flops: float,
) -> dict[str, Any]:
    """Take all optimizer steps, validating now and then; return what result.json says of them."""
    config, mesh = run.train, parallel.mesh
    step_tokens = config.global_batch * run.model.seq_len
    val_losses = []

    def validate(step: int) -> None:
        windows = val_windows.spread(config.val_sequences)
        batch_local = val_windows.read(share(windows, mesh.dp.size, mesh.dp.rank))
        tokens = len(windows) * run.model.seq_len
        with _located(step, config, mesh):
            loss = evaluate(
                parallel, batch_local, micro_batch=config.micro_batch, global_tokens=tokens
            )
        val_losses.append(loss)
        log.metrics({"step": step, "val_loss": loss})
        log.say(f"step {step:5d}  held-out loss {loss:.4f}")

    start_s = time.perf_counter()
    validate(0)
    for step in range(config.steps):
        step_start_s = time.perf_counter()
        bytes_before = comm.bytes_by_axis(mesh.axes)
        windows = train_windows.of_step(step, config.global_batch)
        batch_local = train_windows.read(share(windows, mesh.dp.size, mesh.dp.rank))
        lr = learning_rate(step, config)
        set_learning_rate(optimizer, lr)
        with _located(step + 1, config, mesh):
            result = train_step(
                parallel,
                optimizer,
                batch_local,
                micro_batch=config.micro_batch,
                global_tokens=step_tokens,
                grad_clip=config.grad_clip,
            )
        step_time_s = time.perf_counter() - step_start_s
        tokens_per_s = step_tokens / step_time_s
        bytes_after = comm.bytes_by_axis(mesh.axes)
        # Steps count from 1 here: record n is about the n-th update, and validation after it.
        log.metrics(
            {
                "step": step + 1,
                "loss": result.loss,
                "grad_norm": result.grad_norm,
                "lr": lr,
                "tokens": (step + 1) * step_tokens,
                "tokens_per_s": tokens_per_s,
                "step_time_s": step_time_s,
                "mfu": tokens_per_s * flops_per_token(run.model) / peak_flops,
                "bytes_by_axis": {k: bytes_after[k] - bytes_before[k] for k in bytes_after},
            }
        )
        if (step + 1) % config.log_every == 0:
            log.say(
                f"step {step + 1:5d}  loss {result.loss:.4f}  lr {lr:.2e}  "
                f"{tokens_per_s:,.0f} tokens/s"
            )
        if (step + 1) % config.val_every == 0 or step + 1 == config.steps:
            validate(step + 1)
    train_time_s = time.perf_counter() - start_s
    return {
        "val_loss_first": val_losses[0],
        "val_loss_last": val_losses[-1],
        "loss_last": result.loss,
        "steps": config.steps,
        "tokens": config.steps * step_tokens,
        "train_time_s": train_time_s,
        "tokens_per_s": config.steps * step_tokens / train_time_s,
    }


@contextlib.contextmanager
def _located(step: int, config: TrainConfig, mesh: Mesh) -> Iterator[None]:
    """Add the step, the rank and a remedy to a loss that is not finite."""
    try:
        yield
    except NotFinite as error:
        raise NotFinite(
            f"step {step}, rank {mesh.rank} on {host_name()}: {error}. No checkpoint of it would "
            f"be of use, so training stops here: try a lower lr (now {config.lr}) or more "
            f"warmup_steps (now {config.warmup_steps})"
        ) from None


def _shared_data(run: RunConfig, mesh: Mesh, run_dir: Path, log: RunLog) -> Path:
    """Return the folder of the tokenised corpus; rank 0 builds it if need be, the others wait."""
    folder, problem = None, None
    if mesh.rank == 0:
        data, vocab_size = run.data, run.model.vocab_size
        try:
            folder = prepare_data(
                data.corpus, vocab_size, val_fraction=data.val_fraction, progress=log.say
            )
            # A copy, so that the run folder alone is enough to use the model.
            write_text(run_dir / "tokenizer.json", (folder / "tokenizer.json").read_text())
        except ValueError as error:
            problem = error
    # The others hear of a mistake as well: "connection closed by peer" would hide it.
    folder, told = comm.all_gather_object((folder, str(problem)), mesh.dp)[0]
    if problem is not None:
        raise problem
    if folder is None:
        raise ValueError(f"rank 0 could not prepare the data: {told}")
    if not folder.is_dir():
        raise ValueError(
            f"rank {mesh.rank} on {host_name()} cannot see {folder}, which rank 0 prepared: set "
            "WORKSHOP_BASE to a folder on a file system that all nodes share"
        )
    return folder


def _open_windows(run: RunConfig, folder: Path) -> tuple[Windows, Windows]:
    length, seed = run.model.seq_len, run.train.seed
    training = Windows(TokenFile(folder / "train").tokens, length, seed, "training text")
    validation = Windows(TokenFile(folder / "val").tokens, length, seed, "held-out text")
    return training, validation


def _describe_run(run: RunConfig, mesh: Mesh, data_folder: Path, log: RunLog) -> dict[str, Any]:
    """Gather what runs where, measure the peak, print a line per rank; the same on every rank."""
    mine = {
        "rank": mesh.rank,
        "host": host_name(),
        "pid": os.getpid(),
        "device": str(mesh.device),
        "threads": torch.get_num_threads(),
        # All ranks measure at the same time, as they will train at the same time.
        "peak_flops": measure_peak_flops(mesh.device),
    }
    ranks = comm.all_gather_object(mine, mesh.dp)
    for r in ranks:
        threads = f"{r['threads']} thread" + ("s" if r["threads"] > 1 else "")
        log.say(f"rank {r['rank']} on {r['host']} ({r['device']}, {threads}, pid {r['pid']})")
    return {
        "world_size": mesh.world_size,
        "hosts": [r["host"] for r in ranks],
        "job_id": job_id(),
        "ranks": ranks,
        "peak_flops": sum(r["peak_flops"] for r in ranks),
        "num_parameters": num_parameters(run.model),
        "flops_per_token": flops_per_token(run.model),
        "data_folder": str(data_folder),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


class Stopped(SystemExit):
    """SIGTERM arrived: the job was cancelled, its time is over, or another rank has failed."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)

    def __str__(self) -> str:
        return "SIGTERM: job cancelled, time over, or another rank failed"


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that temporary files are removed on the way out."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only
        return

    def stop(signum: int, frame: object) -> None:
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _failures_recorded(run_dir: Path, rank: int) -> Iterator[None]:
    try:
        yield
    except (Exception, Stopped) as error:
        # Not into a folder that is no run folder: a mistyped path should not be created.
        if run_dir.is_dir():
            write_failure(run_dir, rank, error)
        raise
