"""The same run on 1, 2 and 4 ranks has the same losses: float32, through the real trainer."""

import dataclasses
from pathlib import Path

import pytest

from course_lib.config import RunConfig
from course_lib.parallel.launch import run_ranks
from course_lib.presets import tiny
from course_lib.runlog import create_run_dir, read_metrics, read_result
from course_lib.train.loop import train_on

STEPS = 20


def test_first_twenty_losses(tmp_path: Path, small_corpus: Path, monkeypatch) -> None:
    run = small_corpus_run(small_corpus)
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))
    losses, held_out = {}, {}
    for dp in (1, 2, 4):
        run_dir = create_run_dir(run)
        run_ranks(train_on, dp, run_dir)
        records = read_metrics(run_dir)
        losses[dp] = [record["loss"] for record in records if "loss" in record]
        held_out[dp] = [record["val_loss"] for record in records if "val_loss" in record]
        result = read_result(run_dir)
        assert result is not None and result["world_size"] == dp
    assert len(losses[1]) == STEPS
    for dp in (2, 4):
        assert losses[dp] == pytest.approx(losses[1], abs=1e-4)
        assert held_out[dp] == pytest.approx(held_out[1], abs=1e-4)
    # Equal losses of a model that learns nothing would prove little.
    assert losses[1][-1] < losses[1][0] - 0.5


def small_corpus_run(folder: Path) -> RunConfig:
    run = tiny()
    assert run.train.steps == STEPS
    return dataclasses.replace(run, data=dataclasses.replace(run.data, corpus=str(folder)))
