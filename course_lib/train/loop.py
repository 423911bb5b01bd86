"""The training run: a function from a run folder with a config.json to one with a result.

`train` joins the ranks that torchrun started (or runs alone), `train_on` does the work on a mesh
and is also what the tests start with `run_ranks`. The loop itself is `_train_steps`; around it is
what makes a run worth keeping: what ran where, validation before, during and after, checkpoints, a
sample of text, and if anything fails a file that names the rank. A run folder that already has a
checkpoint is a run that goes on. Lab 02 builds the loop. Left out on purpose: a Trainer class and
callbacks.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from course_lib.checkpoint import CheckpointWriter, last_checkpoint, load_checkpoint, take_snapshot
from course_lib.config import FP16_ON_A_CPU, RunConfig, TrainConfig, planted_bottlenecks
from course_lib.layout import check_layout
from course_lib.model.attention import Attention
from course_lib.model.gpt import GPT, Block
from course_lib.parallel import comm
from course_lib.parallel.join import connected, set_threads
from course_lib.parallel.mesh import Mesh
from course_lib.parallel.parallelize import ParallelModel, parallelize
from course_lib.plan.counts import flops_per_token, num_parameters
from course_lib.profile.memory import keep_freed_memory
from course_lib.profile.regions import region
from course_lib.profile.trace import Recorder
from course_lib.runlog import (
    RunLog,
    check_unfinished,
    host_name,
    read_config,
    read_metrics,
    set_aside_earlier_attempt,
    write_json,
)
from course_lib.train.memory_step import memory_step, named_layers
from course_lib.train.optim import build_optimizer, learning_rate, set_learning_rate
from course_lib.train.precision import LossScale
from course_lib.train.prepare import choose_attention, describe_run, open_windows, shared_data
from course_lib.train.receipt import receipt_left
from course_lib.train.reference import measure_references
from course_lib.train.sample import generate, load_model
from course_lib.train.slow import load_when_needed, plant, reduce_instead, slowed
from course_lib.train.step import NotFinite, StepResult, evaluate, train_step
from course_lib.train.stopping import StopRequest, failures_recorded, signals_handled
from course_lib.train.tokens import Windows, load_ahead, share

SKIPPED_IN_A_ROW = 10
"""So many steps without a finite gradient are no accident: the run stops even with skip."""


def train(run_dir: Path) -> None:
    """Train what run_dir/config.json says, on the ranks torchrun started or in this process alone.

    Leaves run_info.json, metrics.jsonl, checkpoints/, tokenizer.json and result.json in the run
    folder; after an exception failed/rank_<R>.json instead of a result; receipt.json either way.

    Raises:
        ValueError: the configuration does not fit the ranks or the data, or the run is finished.
        NotFinite: the loss or the gradient became infinite or not a number.
        Stopped: SIGTERM or SIGUSR1 arrived; if training had begun, a checkpoint was written.
    """
    run_dir = Path(run_dir)
    rank = int(os.environ.get("RANK", "0"))
    check_unfinished(run_dir)  # before failures are recorded: a finished run must not look failed
    with failures_recorded(run_dir, rank), signals_handled() as stop:
        if rank == 0:
            set_aside_earlier_attempt(run_dir, _resumable_step(run_dir))
        run = read_config(run_dir)
        with receipt_left(run_dir, run, rank):
            check_layout(run, int(os.environ.get("WORLD_SIZE", "1")))
            set_threads()
            config = run.train
            with connected(
                layout=run.layout,
                device=config.device,
                backend=config.backend,
                timeout_s=config.timeout_s,
            ) as mesh:
                train_on(mesh, run_dir, stop=stop)


def train_on(mesh: Mesh, run_dir: Path, *, stop: StopRequest | None = None, **seams: Any) -> None:
    """Do the whole run on a mesh that is already connected; every rank calls this.

    Args:
        mesh: this rank's place.
        run_dir: a folder that all ranks see, with a config.json.
        stop: tells when this process was asked to stop.
        seams: a learner's own pieces (`shard`, `reduce`, `schedule`); see `parallelize`.
    """
    keep_freed_memory()
    run = slowed(read_config(run_dir), mesh.world_size)
    planted = planted_bottlenecks(run.train.slow)
    layout = check_layout(run, mesh.world_size)
    if run.train.precision == "fp16" and mesh.device.type == "cpu":
        raise ValueError(FP16_ON_A_CPU)
    stop = stop or StopRequest()
    log = RunLog(run_dir, mesh.rank)
    writer = CheckpointWriter(run_dir, mesh, run.train.keep_checkpoints)
    try:
        data_folder = shared_data(run, mesh, run_dir, log)
        windows = open_windows(run, data_folder)
        attention = choose_attention(run, mesh)
        with torch.device("meta"):  # every rank makes memory for its own part only
            model = GPT(run.model)
        if planted:
            log.say(f"slowed down on purpose: {', '.join(planted)}")
            seams.setdefault("reduce", reduce_instead(run))
        parallel = parallelize(model, run, mesh, attention=attention, **seams)
        plant(parallel)
        optimizer = build_optimizer(parallel, run.train, fused="optimizer" not in planted)
        start, extra = _resume(run_dir, parallel, optimizer, log)
        info = describe_run(run, mesh, data_folder, log)
        if mesh.rank == 0:
            write_json(run_dir / "run_info.json", info)
        log.say(
            f"{num_parameters(run.model):,} parameters, dp {layout.dp} x pp {layout.pp} x tp "
            f"{layout.tp}, zero {layout.zero}, {run.train.precision}, attention {attention}, "
            f"{run.train.global_batch} x {run.model.seq_len} tokens per step, "
            f"{run.train.steps} steps, peak {info['peak_flops'] / 1e9:.0f} GFLOP/s in all"
        )
        stop.patient = True
        summary = _train_steps(
            parallel,
            optimizer,
            writer,
            windows,
            log,
            stop,
            start,
            extra,
            info["peak_flops"],
            attention,
        )
        checkpoint = writer.wait()
        if mesh.rank == 0:
            write_json(
                run_dir / "result.json", _outcome(run, run_dir, checkpoint, summary, log) | info
            )
        # The others stay until rank 0 is done: a launcher may take an early exit for a failure.
        comm.barrier(mesh.world)
    finally:
        writer.close()
        log.close()


def _train_steps(
    parallel: ParallelModel,
    optimizer: torch.optim.Optimizer,
    writer: CheckpointWriter,
    windows: tuple[Windows, Windows],
    log: RunLog,
    stop: StopRequest,
    start: int,
    extra: dict[str, Any],
    peak_flops: float,
    attention: Attention,
) -> dict[str, Any]:
    """Take all optimizer steps from `start` on; return what result.json says of them."""
    run, mesh = parallel.run, parallel.mesh
    config, (train_windows, val_windows) = run.train, windows
    planted = planted_bottlenecks(config.slow)
    step_tokens = config.global_batch * run.model.seq_len
    loss_scale = None
    if config.precision == "fp16":
        loss_scale = LossScale(*extra.get("loss_scale", ()))
    skipped = 0

    def read(step: int) -> torch.Tensor:
        numbers = train_windows.of_step(step, config.global_batch)
        return train_windows.read(share(numbers, mesh.dp.size, mesh.dp.rank))

    def validate(step: int) -> None:
        numbers = val_windows.spread(config.val_sequences)
        largest = len(share(numbers, mesh.dp.size, 0))
        with region("validate"), _located(step, config, mesh):
            loss = evaluate(
                parallel,
                val_windows.read(share(numbers, mesh.dp.size, mesh.dp.rank)),
                micro_batch=config.micro_batch,
                global_tokens=len(numbers) * run.model.seq_len,
                rounds=-(-largest // config.micro_batch),
            )
        log.metrics({"step": step, "val_loss": loss})
        log.say(f"step {step:5d}  held-out loss {loss:.4f}")

    def save(step: int) -> None:
        scale = (
            {} if loss_scale is None else {"loss_scale": [loss_scale.value, loss_scale.good_steps]}
        )
        with region("checkpoint"):
            writer.save(take_snapshot(parallel, optimizer, step, scale))
            if "checkpoint" in planted:
                writer.wait()

    def step_once(step: int, batch_local: torch.Tensor) -> StepResult | None:
        """Take one step; None if it was left out because its numbers were not finite."""
        nonlocal skipped
        set_learning_rate(optimizer, learning_rate(step, config))
        try:
            options: dict[str, Any] = {
                "micro_batch": config.micro_batch,
                "global_tokens": step_tokens,
                "grad_clip": config.grad_clip,
                "stop": bool(stop.by),
                "loss_scale": loss_scale,
            }
            with _located(step + 1, config, mesh):
                if len(run.profile.range) and step + 1 == run.profile.range.stop:
                    # Watching memory takes time, so it has a step of its own, after the timed ones.
                    result, memory = memory_step(
                        parallel,
                        optimizer,
                        batch_local,
                        step=step + 1,
                        attention=attention,
                        **options,
                    )
                    memory.save(log.run_dir)
                else:
                    result = train_step(parallel, optimizer, batch_local, **options)
        except NotFinite as error:
            skipped += 1
            if config.on_nonfinite == "stop" or skipped > SKIPPED_IN_A_ROW:
                raise
            log.say(f"step {step + 1} skipped: {error}")
            log.metrics({"step": step + 1, "skipped": str(error)})
            return None
        skipped = 0
        return result

    start_s = time.perf_counter()
    if start == 0:
        validate(0)
    steps = range(start, config.steps)
    if "loader" in planted:
        batches = load_when_needed(read, steps)
    else:
        batches = load_ahead(read, steps, pin=mesh.device.type == "cuda")
    step_start_s = time.perf_counter()
    recorder = _recorder(parallel, log.run_dir, peak_flops / mesh.world_size)
    with (
        contextlib.closing(batches),
        contextlib.closing(recorder),
        _scalars(log, config) as scalars,
    ):
        for step in steps:
            done = step + 1
            with recorder.step(done):
                with region("data"):
                    batch_local = next(batches)
                mesh.progress.step = done
                bytes_before = comm.bytes_by_axis(mesh.axes)
                result = step_once(step, batch_local)
                if result is not None:
                    step_time_s = time.perf_counter() - step_start_s
                    tokens_per_s = step_tokens / step_time_s
                    bytes_after = comm.bytes_by_axis(mesh.axes)
                    lr = learning_rate(step, config)
                    # Steps count from 1: record n is about the n-th update, validation n after it.
                    record = {
                        "step": done,
                        "loss": result.loss,
                        "grad_norm": result.grad_norm,
                        "lr": lr,
                        "tokens": done * step_tokens,
                        "tokens_per_s": tokens_per_s,
                        "step_time_s": step_time_s,
                        "at_s": time.perf_counter() - start_s,
                        "mfu": tokens_per_s * flops_per_token(run.model) / peak_flops,
                        "bytes_by_axis": {k: bytes_after[k] - bytes_before[k] for k in bytes_after},
                    }
                    log.metrics(record)
                    scalars(record)
                    if done % config.log_every == 0:
                        log.say(
                            f"step {done:5d}  loss {result.loss:.4f}  lr {lr:.2e}  "
                            f"{tokens_per_s:,.0f} tokens/s"
                        )
                if done % config.val_every == 0 or done == config.steps:
                    validate(done)
                due = config.checkpoint_every and done % config.checkpoint_every == 0
                stopping = result is not None and result.stop and done < config.steps
                if due or stopping or done == config.steps:
                    save(done)
                if stopping:
                    writer.wait()
                    log.say(f"asked to stop: step {done} is saved, a new start goes on from there")
                    raise stop.stopped(done)
            step_start_s = time.perf_counter()
    train_time_s = time.perf_counter() - start_s
    return {
        "steps": config.steps,
        "resumed_from_step": start,
        "tokens": config.steps * step_tokens,
        "train_time_s": train_time_s,
        "tokens_per_s": len(steps) * step_tokens / train_time_s,
    }


def _outcome(
    run: RunConfig, run_dir: Path, checkpoint: Path | None, summary: dict[str, Any], log: RunLog
) -> dict[str, Any]:
    """Return result.json's own part: losses, a sample of text, the checkpoint. For rank 0."""
    records = read_metrics(run_dir)
    val_losses = [record["val_loss"] for record in records if "val_loss" in record]
    losses = [record["loss"] for record in records if "loss" in record]
    log.say(
        f"held-out loss {val_losses[0]:.4f} -> {val_losses[-1]:.4f} "
        f"in {summary['train_time_s']:.1f} s"
    )
    config = run.train
    sample = ""
    if config.sample_tokens:
        model, tokenizer, _ = load_model(run_dir)
        sample = generate(
            model, tokenizer, config.sample_prompt, config.sample_tokens, seed=config.seed
        )
        log.say(f"the model continues {config.sample_prompt!r}:\n{sample}")
    return {
        "status": "completed",
        "val_loss_first": val_losses[0],
        "val_loss_last": val_losses[-1],
        "loss_last": losses[-1] if losses else None,
        **summary,
        "sample": sample,
        "checkpoint": str((checkpoint or last_checkpoint(run_dir)).relative_to(run_dir)),
    }


def _resumable_step(run_dir: Path) -> int:
    """Return the step of the run's last checkpoint, 0 if there is none."""
    try:
        return int(last_checkpoint(run_dir).name.removeprefix("step_"))
    except ValueError:
        return 0


def _resume(
    run_dir: Path, parallel: ParallelModel, optimizer: torch.optim.Optimizer, log: RunLog
) -> tuple[int, dict[str, Any]]:
    """Load the last checkpoint, if there is one; return the steps done and what else it says."""
    # Rank 0 decides: the ranks may see a folder at different moments.
    step = comm.all_gather_object(_resumable_step(run_dir), parallel.mesh.world)[0]
    path = run_dir / "checkpoints" / f"step_{step}"
    if not path.is_dir():
        return 0, {}
    try:
        done, extra = load_checkpoint(path, parallel, optimizer if step else None)
    except ValueError as error:
        raise ValueError(
            f"{error}. To go on from the checkpoint before it, or from the start, delete {path}"
        ) from error
    log.say(f"going on from step {done} ({path.name})")
    return done, extra


def _recorder(parallel: ParallelModel, run_dir: Path, peak_flops: float) -> Recorder:
    """Return what records the steps that the run wants recorded; every rank has its own."""
    run, mesh = parallel.run, parallel.mesh
    layers = named_layers(parallel)
    for name, block in list(layers.items()):
        if isinstance(block, Block):
            layers |= {f"{name}.attention": block.attention, f"{name}.mlp": block.mlp}
    about = {
        "rank": mesh.rank,
        "world_size": mesh.world_size,
        "axes": {
            axis.name: {"size": axis.size, "rank": axis.rank, "ranks": axis.ranks}
            for axis in mesh.axes
        },
        "host": host_name(),
        "peak_flops": peak_flops,
        "numbers": sum(len(shard.weight) for shard in parallel.shards),
        "run": json.loads(run.to_json()),
    }

    def ask() -> dict[str, Any]:
        return about | {"reference": measure_references(parallel)}

    return Recorder(run.profile, run_dir, mesh.rank, mesh.device, layers, ask)


@contextlib.contextmanager
def _scalars(log: RunLog, config: TrainConfig) -> Iterator[Any]:
    """Yield a function that writes a step's record to TensorBoard; on rank 0 only."""
    if not config.tensorboard or not log.writes:
        yield lambda record: None
        return
    # Here, as tensorboard is needed by one rank and not by every import of the loop.
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(log.run_dir / "tensorboard")) as board:

        def write(record: dict[str, Any]) -> None:
            for key in ("loss", "grad_norm", "lr", "tokens_per_s", "mfu"):
                board.add_scalar(f"train/{key}", record[key], record["step"])

        yield write


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
