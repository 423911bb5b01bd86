"""A checkpoint of one layout goes on in another as if the run had never stopped.

Two AdamW steps, a checkpoint, two more: the weights are compared with those of a run in another
layout that loads the checkpoint and takes the last two steps. In the same layout they are the same
bit for bit, in another one equal to 1e-9 in float64. The vocabulary has 61 entries: it is padded to
62 or 64 when cut, and the padding must not get into the file.
"""

import dataclasses
from pathlib import Path

import pytest
import torch

from course_lib.checkpoint import CheckpointWriter, last_checkpoint, load_checkpoint, take_snapshot
from course_lib.config import Layout, RunConfig
from course_lib.grade.compare import batch_of, build_model, run_config, windows
from course_lib.parallel.launch import run_ranks
from course_lib.parallel.mesh import Mesh
from course_lib.parallel.parallelize import ParallelModel, parallelize
from course_lib.runlog import create_run_dir
from course_lib.train.optim import build_optimizer
from course_lib.train.step import train_step

LAYOUTS = {
    "one": (1, Layout()),
    "dp2": (2, Layout()),
    "dp2 zero1": (2, Layout(zero=1)),
    "dp2 zero2": (2, Layout(zero=2)),
    "dp2 zero3": (2, Layout(zero=3)),
    "dp4 zero1": (4, Layout(zero=1)),
    "dp4 zero3": (4, Layout(zero=3)),
    "tp2": (2, Layout(tp=2)),
    "tp2 sp": (2, Layout(tp=2, sp=True)),
    "tp4": (4, Layout(tp=4)),
    "pp2": (2, Layout(pp=2)),
    "pp2 interleaved": (2, Layout(pp=2, virtual_stages=2, schedule="interleaved")),
    "pp2 zero-bubble": (2, Layout(pp=2, schedule="zb_h1")),
    "tp2 x pp2": (4, Layout(tp=2, pp=2)),
    "tp2 x dp2 zero1": (4, Layout(tp=2, zero=1)),
}
PAIRS = [
    ("one", "one"),
    ("dp2", "dp2"),
    ("dp2 zero3", "dp2 zero3"),
    ("tp2 x dp2 zero1", "tp2 x dp2 zero1"),
    ("pp2 interleaved", "pp2 interleaved"),
    ("one", "tp4"),
    ("tp4", "one"),
    ("tp2", "tp4"),
    ("dp2 zero1", "dp4 zero3"),
    ("dp4 zero3", "dp2 zero2"),
    ("dp4 zero1", "tp2 x pp2"),
    ("tp2 x pp2", "dp2 zero3"),
    ("tp2 sp", "pp2 zero-bubble"),
    ("pp2", "tp2 x dp2 zero1"),
    ("pp2 interleaved", "dp2 zero2"),
    ("tp2 x dp2 zero1", "pp2 interleaved"),
]


def _steps(parallel: ParallelModel, optimizer: torch.optim.Optimizer, steps: range) -> None:
    run = parallel.run
    for step in steps:
        train_step(
            parallel,
            optimizer,
            batch_of(step, run, parallel.mesh, windows(run)),
            micro_batch=run.train.micro_batch,
            global_tokens=run.train.global_batch * run.model.seq_len,
            grad_clip=0.5,
        )


def _weights(parallel: ParallelModel) -> list:
    return [(shard.piece, shard.weight.clone()) for shard in parallel.shards]


def never_stopped(mesh: Mesh, run: RunConfig, run_dir: Path | None) -> list:
    """Take four steps, with a checkpoint behind training's back after the second."""
    parallel = parallelize(build_model(run), run, mesh)
    optimizer = build_optimizer(parallel, run.train)
    writer = CheckpointWriter(run_dir, mesh, keep=1) if run_dir else None
    _steps(parallel, optimizer, range(2))
    if writer:
        writer.save(take_snapshot(parallel, optimizer, 2))
    _steps(parallel, optimizer, range(2, 4))
    if writer:
        writer.wait()
        writer.close()
    return _weights(parallel)


def going_on(mesh: Mesh, run: RunConfig, run_dir: Path) -> list:
    """Load the checkpoint into a model with other weights and take the last two steps."""
    model = build_model(dataclasses.replace(run, train=dataclasses.replace(run.train, seed=99)))
    parallel = parallelize(model, run, mesh)
    optimizer = build_optimizer(parallel, run.train)
    step, _ = load_checkpoint(last_checkpoint(run_dir), parallel, optimizer)
    assert step == 2
    _steps(parallel, optimizer, range(2, 4))
    return _weights(parallel)


@pytest.mark.parametrize(("saved", "loaded"), PAIRS, ids=lambda name: name)
def test_going_on_equals_never_having_stopped(saved: str, loaded: str, tmp_path: Path) -> None:
    (from_ranks, from_layout), (to_ranks, to_layout) = LAYOUTS[saved], LAYOUTS[loaded]
    run = run_config(from_layout, vocab_size=61)
    run_dir = create_run_dir(run, tmp_path)
    whole = run_ranks(never_stopped, from_ranks, run, run_dir, layout=from_layout)
    resumed_run = dataclasses.replace(run, layout=to_layout)
    resumed = run_ranks(going_on, to_ranks, resumed_run, run_dir, layout=to_layout)
    if saved == loaded:
        for before, after in zip(whole, resumed, strict=True):
            for (piece, expected), (_, actual) in zip(before, after, strict=True):
                assert torch.equal(actual, expected), piece.name
        return
    expected = {piece.name: weight for piece, weight in _one_process(run)}
    for rank in resumed:
        for piece, actual in rank:
            full = expected[piece.name].view(piece.slice.shape)
            part = piece.slice.cut(full).flatten()[piece.start : piece.stop]
            error = float((actual - part).abs().max() / full.abs().max())
            assert error < 1e-9, f"{piece.name}: {error:.1e}"


_memory: list = []


def _one_process(run: RunConfig) -> list:
    if not _memory:
        one = dataclasses.replace(run, layout=Layout())
        _memory.extend(run_ranks(never_stopped, 1, one, None)[0])
    return _memory
