"""Checkpoints on disk: whole or not there, kept to the last few, and damage is refused by name."""

import dataclasses
import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from course_lib.checkpoint import (
    CheckpointWriter,
    last_checkpoint,
    load_checkpoint,
    read_weights,
    save_weights,
    take_snapshot,
)
from course_lib.config import RunConfig
from course_lib.grade.compare import build_model, run_config
from course_lib.parallel.launch import RanksFailed, run_ranks
from course_lib.parallel.mesh import build_mesh
from course_lib.parallel.parallelize import parallelize
from course_lib.runlog import create_run_dir
from course_lib.train.optim import build_optimizer

RUN = run_config()


def built(seed: int = 1, run: RunConfig = RUN):
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, seed=seed))
    parallel = parallelize(build_model(run), run, build_mesh(run.layout))
    optimizer = build_optimizer(parallel, run.train)
    for shard in parallel.shards:
        shard.weight.grad = torch.ones_like(shard.weight)
    optimizer.step()
    return parallel, optimizer


def save(run_dir: Path, *steps: int, keep: int = 2) -> Path:
    parallel, optimizer = built()
    writer = CheckpointWriter(run_dir, parallel.mesh, keep)
    for step in steps:
        writer.save(take_snapshot(parallel, optimizer, step))
    path = writer.wait()
    writer.close()
    assert path is not None
    return path


def test_the_snapshot_does_not_change_with_training(tmp_path: Path) -> None:
    parallel, optimizer = built()
    snapshot = take_snapshot(parallel, optimizer, 1)
    before = [values.clone() for _, _, values in snapshot.pieces]
    with torch.no_grad():
        for shard in parallel.shards:
            shard.weight.add_(1.0)
            optimizer.state[shard.weight]["exp_avg"].add_(1.0)
    for (_, _, values), expected in zip(snapshot.pieces, before, strict=True):
        assert torch.equal(values, expected)


def test_only_the_last_ones_are_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no checkpoint"):
        last_checkpoint(tmp_path)
    (tmp_path / "checkpoints" / ".step_11.tmp").mkdir(parents=True)
    path = save(tmp_path, 8, 9, 10)
    assert path == last_checkpoint(tmp_path)
    # What a killed attempt left half-written is gone too.
    names = sorted(entry.name for entry in (tmp_path / "checkpoints").iterdir())
    assert names == ["step_10", "step_9"]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "checkpoints" / "step_1" / "index.json").write_text("damaged")
    path = save(tmp_path, 1)
    assert load_checkpoint(path, *built(seed=2))[0] == 1


def test_the_random_generator_goes_on(tmp_path: Path) -> None:
    torch.manual_seed(3)
    path = save(tmp_path, 1)
    expected = torch.rand(4)
    parallel, optimizer = built(seed=2)
    torch.manual_seed(4)
    load_checkpoint(path, parallel, optimizer)
    assert torch.equal(torch.rand(4), expected)


def test_failed_save_leaves_the_last_one_and_is_told(tmp_path: Path, monkeypatch) -> None:
    save(tmp_path, 1)

    def full(*args):
        raise OSError("no space left")

    def second(mesh):
        if mesh.rank == 1:
            monkeypatch.setattr("course_lib.checkpoint.save_file", full)
        parallel = parallelize(build_model(RUN), RUN, mesh)
        writer = CheckpointWriter(tmp_path, mesh, keep=1)
        writer.save(take_snapshot(parallel, None, 2))
        writer.wait()

    with pytest.raises(RanksFailed) as failure:
        run_ranks(second, 2)
    # Both ranks hear of it: none waits for the other.
    assert [failure.value.errors[rank] for rank in (0, 1)] == [
        f"OSError: checkpoint {tmp_path / 'checkpoints' / 'step_2'} was not written "
        "(rank 1: no space left)"
    ] * 2
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["step_1"]


def save_for_ever(run_dir: Path, step: int, told: int) -> None:
    """In a forked child: save again and again, and tell through a pipe what is complete."""
    torch.set_num_threads(1)
    parallel, optimizer = built()
    writer = CheckpointWriter(run_dir, parallel.mesh, 2)
    while True:
        with torch.no_grad():
            for shard in parallel.shards:
                shard.weight.fill_(step)
        writer.save(take_snapshot(parallel, optimizer, step))
        writer.wait()
        os.write(told, b"%d\n" % step)
        step += 1


def test_killed_while_saving_twenty_times(tmp_path: Path) -> None:
    """kill -9 at any moment leaves a checkpoint that loads: the last one told of, or the next."""
    step = 1
    for attempt in range(20):
        reading, told = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                save_for_ever(tmp_path, step, told)
            finally:
                os._exit(1)
        os.close(told)
        with open(reading) as pipe:
            complete = int(pipe.readline())
            time.sleep(0.0037 * attempt)  # a save takes some 10 ms: all its moments are hit
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            complete = [complete, *map(int, pipe.read().split())][-1]
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        parallel, optimizer = built(seed=2)
        found, _ = load_checkpoint(last_checkpoint(tmp_path), parallel, optimizer)
        assert found in (complete, complete + 1)
        for shard in parallel.shards:
            assert torch.equal(shard.weight, torch.full_like(shard.weight, found))
        step = found + 1


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage", "expected"),
    [
        ("rank_00000.safetensors", flip_a_bit, "damaged: its contents do not match the hash"),
        ("rank_00000.safetensors", lambda p: p.write_bytes(p.read_bytes()[:-9]), "damaged: it has"),
        ("rank_00000.safetensors", Path.unlink, "is missing"),
        ("index.json", Path.unlink, "cannot be read: No such file"),
        ("index.json", lambda p: p.write_text("{}"), "is not a checkpoint's description"),
        ("index.json", lambda p: p.write_text("{"), "is not a checkpoint's description"),
        (
            "index.json",
            lambda p: p.write_text(json.dumps({**json.loads(p.read_text()), "format": 99})),
            "it has format 99",
        ),
    ],
)
def test_damage_is_refused_and_changes_nothing(tmp_path, name, damage, expected) -> None:
    path = save(tmp_path, 2)
    damage(path / name)
    parallel, optimizer = built(seed=2)
    before = [shard.weight.clone() for shard in parallel.shards]
    with pytest.raises(ValueError) as refusal:
        load_checkpoint(path, parallel, optimizer)
    assert expected in str(refusal.value)
    assert name in str(refusal.value)
    for shard, weight in zip(parallel.shards, before, strict=True):
        assert torch.equal(shard.weight, weight)


def test_a_missing_piece_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    index = json.loads((path / "index.json").read_text())
    entries = index["files"]["rank_00000.safetensors"]["tensors"]
    entries.remove(next(e for e in entries if e["key"] == "norm.bias/weight"))
    (path / "index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="was saved without the weight of norm.bias"):
        load_checkpoint(path, *built())


def test_another_model_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    with pytest.raises(ValueError, match=r"another model: d_model is 32 there and 64 here"):
        load_checkpoint(path, *built(run=run_config(d_model=64)))


def test_weights_alone(tmp_path: Path) -> None:
    run_dir = create_run_dir(RUN, tmp_path)
    weights = {name: p.detach() for name, p in build_model(RUN).named_parameters()}
    path = save_weights(run_dir, 0, weights)
    assert path == last_checkpoint(run_dir)
    for name, weight in read_weights(path, RUN.model).items():
        assert torch.equal(weight, weights[name])
    with pytest.raises(ValueError, match="was saved without the optimizer state exp_avg"):
        load_checkpoint(path, *built())
    assert os.listdir(path.parent) == ["step_0"]
