"""Checkpoints: training goes on as if nothing had been saved, and damage is refused by name."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from course_lib.checkpoint import last_checkpoint, load_checkpoint, save_checkpoint
from course_lib.model.gpt import GPT, summed_token_loss
from course_lib.model.init import init_weights
from course_lib.presets import tiny
from course_lib.train.optim import build_optimizer

CONFIG = tiny().model


def trained(steps: int, seed: int = 1):
    model = GPT(CONFIG)
    init_weights(model, CONFIG, seed)
    optimizer = build_optimizer(model, tiny().train)
    take_steps(model, optimizer, steps)
    return model, optimizer


def take_steps(model, optimizer, steps: int) -> None:
    tokens = torch.arange(33).unsqueeze(0)
    for _ in range(steps):
        optimizer.zero_grad()
        summed_token_loss(model(tokens[:, :-1]), tokens[:, 1:]).backward()
        optimizer.step()


def test_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    model, optimizer = trained(steps=2)
    path = save_checkpoint(tmp_path, 2, model, optimizer)
    assert path == last_checkpoint(tmp_path)
    take_steps(model, optimizer, 2)
    loaded, loaded_optimizer = trained(steps=1, seed=2)
    assert load_checkpoint(path, loaded, loaded_optimizer) == 2
    take_steps(loaded, loaded_optimizer, 2)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, loaded.get_parameter(name)), name


def test_last_is_by_number_and_unfinished_ones_do_not_count(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no checkpoint"):
        last_checkpoint(tmp_path)
    model = GPT(CONFIG)
    for step in (9, 10):
        save_checkpoint(tmp_path, step, model)
    (tmp_path / "checkpoints" / ".step_11.1.tmp").mkdir()
    assert last_checkpoint(tmp_path).name == "step_10"


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, GPT(CONFIG))
    model, optimizer = trained(steps=1)
    path = save_checkpoint(tmp_path, 1, model, optimizer)
    assert [found.name for found in path.parent.iterdir()] == ["step_1"]
    loaded = GPT(CONFIG)
    load_checkpoint(path, loaded)
    assert torch.equal(loaded.tokens.weight, model.tokens.weight)


def test_failed_save_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def full(*args):
        raise OSError("no space left")

    monkeypatch.setattr("course_lib.checkpoint.save_file", full)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(tmp_path, 1, GPT(CONFIG))
    assert list((tmp_path / "checkpoints").iterdir()) == []


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage", "expected"),
    [
        ("model.safetensors", flip_a_bit, "damaged: its contents do not match the hash"),
        ("optimizer.safetensors", flip_a_bit, "damaged: its contents do not match the hash"),
        ("model.safetensors", lambda p: p.write_bytes(p.read_bytes()[:-9]), "damaged: it has"),
        ("model.safetensors", Path.unlink, "is missing"),
        ("meta.json", Path.unlink, "cannot be read: No such file"),
        ("meta.json", lambda p: p.write_text("{}"), "is not a checkpoint's description"),
        ("meta.json", lambda p: p.write_text("{"), "is not a checkpoint's description"),
        (
            "meta.json",
            lambda p: p.write_text(json.dumps({**json.loads(p.read_text()), "format": 99})),
            "it has format 99",
        ),
    ],
)
def test_damage_is_refused_and_changes_nothing(tmp_path, name, damage, expected) -> None:
    path = save_checkpoint(tmp_path, 2, *trained(steps=1))
    damage(path / name)
    model, optimizer = trained(steps=0, seed=2)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    with pytest.raises(ValueError) as refusal:
        load_checkpoint(path, model, optimizer)
    assert expected in str(refusal.value)
    assert name in str(refusal.value)
    for n, p in model.named_parameters():
        assert torch.equal(p, before[n])


def test_another_model_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, GPT(CONFIG))
    wider = GPT(dataclasses.replace(CONFIG, d_model=64))
    with pytest.raises(ValueError, match=r"tokens\.weight is \(512, 32\) in the file and \(512, 6"):
        load_checkpoint(path, wider)
    with pytest.raises(ValueError, match="was saved without optimizer.safetensors"):
        load_checkpoint(path, *trained(steps=0))
