"""Real runs, recorded: the parts add up, the bytes are those that were counted, nothing changes."""

import dataclasses
import json
import time
from pathlib import Path

import pytest
import torch

from course_lib.config import BOTTLENECKS, DataConfig, Layout, ProfileConfig, RunConfig
from course_lib.model.gpt import Block
from course_lib.parallel.launch import run_ranks
from course_lib.presets import tiny
from course_lib.profile.across import profile_run
from course_lib.profile.advisor import advise
from course_lib.profile.memory_profile import read_memory
from course_lib.profile.summary import summarize
from course_lib.profile.trace import Recorder, trace_path
from course_lib.runlog import create_run_dir, read_metrics
from course_lib.schedule import build_schedule, simulate
from course_lib.train.loop import train_on
from course_lib.train.sample import load_model

RECORDED = range(5, 8)


def train(tmp_path, corpus, ranks=1, layout=None, recorded="5:7", model=None, **changes):
    layout = layout or Layout()
    run = RunConfig(
        name="recorded",
        model=model or tiny().model,
        layout=layout,
        data=DataConfig(corpus=str(corpus)),
        train=dataclasses.replace(
            tiny().train, steps=9, tensorboard=False, sample_tokens=4, **changes
        ),
        profile=ProfileConfig(steps=recorded),
    )
    run_dir = create_run_dir(run, tmp_path)
    run_ranks(train_on, ranks, run_dir, layout=layout, timeout_s=200)
    return run_dir


def losses(run_dir):
    keys = ("step", "loss", "grad_norm", "val_loss")
    return [tuple(record.get(key, 0.0) for key in keys) for record in read_metrics(run_dir)]


@pytest.fixture(autouse=True)
def base(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))


@pytest.mark.parametrize(
    "ranks, layout",
    [
        (1, Layout()),
        (2, Layout(zero=1)),
        (2, Layout(tp=2, sp=True, recompute="full")),
        (2, Layout(pp=2, schedule="zb_h1")),
        (4, Layout(pp=2, tp=2)),
    ],
    ids=str,
)
def test_a_recorded_run(tmp_path, small_corpus, ranks, layout):
    run_dir = train(tmp_path, small_corpus, ranks, layout)
    profile = profile_run(run_dir)
    assert profile.steps == list(RECORDED)
    assert [rank.rank for rank in profile.ranks] == list(range(ranks))
    for rank in profile.ranks:
        assert not rank.left_out
        for step in rank.steps:
            assert sum(step.parts.values()) == step.ns
            assert all(ns >= 0 for ns in step.parts.values())
            assert sum(step.comm.values()) == step.parts["comm"]
    # What the trace says was sent is what comm.py counted, to the byte.
    counted = {record["step"]: record["bytes_by_axis"] for record in read_metrics(run_dir)
               if "loss" in record}  # fmt: skip
    for step in profile.ranks[0].steps:
        sent = {}
        for message in step.messages:
            axis = "pp" if message.axis == "ends" else message.axis
            sent[axis] = sent.get(axis, 0) + message.num_bytes
        assert sent == {axis: n for axis, n in counted[step.number].items() if n}
    layers = {row.layer for rank in profile.ranks for row in rank.operators}
    assert {"blocks.0.mlp", "blocks.1.attention.core", "head"} <= layers
    recomputed = [r for r in profile.ranks[0].steps[0].regions if r.words[0] == "recompute"]
    assert bool(recomputed) == (layout.recompute == "full")
    assert read_memory(run_dir, ranks - 1).step == 8
    # To record changes no number.
    plain = train(tmp_path, small_corpus, ranks, layout, recorded=None)
    assert losses(run_dir) == losses(plain)


@pytest.mark.parametrize("schedule, p", [("gpipe", 2), ("1f1b", 4)])
def test_the_bubble_of_balanced_stages_is_the_simulated_one(
    tmp_path, small_corpus, monkeypatch, schedule, p
):
    """Stages that sleep are balanced on any machine, and need no core while they work."""
    forward = Block.forward
    monkeypatch.setattr(Block, "forward", lambda block, x: forward(block, _Sleep.apply(x)))
    model = dataclasses.replace(tiny().model, num_layers=p)
    layout = Layout(pp=p, schedule=schedule)
    run_dir = train(tmp_path, small_corpus, p, layout, model=model, micro_batch=2)
    bubble = summarize(profile_run(run_dir)).bubble
    assert bubble is not None
    simulated = simulate(build_schedule(schedule, p, m=bubble.micro_batches), COSTS_S).bubble
    assert bubble.measured_fraction == pytest.approx(simulated / (1 + simulated), rel=0.1)


COSTS_S = {"F": 0.08, "B": 0.16}
"""Seconds: long against what a busy machine adds to them."""


class _Sleep(torch.autograd.Function):
    """Passes its input on, after a while."""

    @staticmethod
    def forward(ctx, x):
        time.sleep(COSTS_S["F"])
        return x.clone()

    @staticmethod
    def backward(ctx, *grads):
        time.sleep(COSTS_S["B"])
        return grads[0]


def test_what_is_recorded_is_checked():
    for steps, words in (("x", "FIRST:LAST"), ("0:3", "FIRST:LAST"), ("5:4", "before the first")):
        with pytest.raises(ValueError, match=words):
            ProfileConfig(steps=steps)
    with pytest.raises(ValueError, match="has 20 steps"):
        dataclasses.replace(tiny(), profile=ProfileConfig(steps="5:30"))
    assert list(ProfileConfig(steps="5").range) == [5]


def test_an_unknown_bottleneck_is_refused():
    with pytest.raises(ValueError, match="'lodaer', but there are only: loader"):
        dataclasses.replace(tiny().train, slow="sync,lodaer")
    assert len(BOTTLENECKS) >= 12


@pytest.mark.parametrize("name", sorted(set(BOTTLENECKS) - {"grain", "stages", "micro"}))
def test_a_planted_bottleneck_changes_no_result(tmp_path, small_corpus, name):
    slow = train(tmp_path, small_corpus, 2, recorded=None, slow=name)
    clean = train(tmp_path, small_corpus, 2, recorded=None)
    for one, other in zip(losses(slow), losses(clean), strict=True):
        assert one == pytest.approx(other, rel=2e-5)


@pytest.mark.parametrize("name", ["stages", "micro"])
def test_a_planted_bottleneck_of_a_pipeline_changes_no_result(tmp_path, small_corpus, name):
    layout = Layout(pp=2)
    slow = train(tmp_path, small_corpus, 2, layout, recorded=None, slow=name)
    clean = train(tmp_path, small_corpus, 2, layout, recorded=None)
    for one, other in zip(losses(slow), losses(clean), strict=True):
        assert one == pytest.approx(other, rel=2e-5)


def test_sizes_off_the_grain_are_those_of_the_model_that_is_kept(tmp_path, small_corpus):
    run_dir = train(tmp_path, small_corpus, recorded=None, slow="grain")
    assert load_model(run_dir)[0].config.mlp_size == 4 * 32 - 1


def test_a_pipeline_s_bottleneck_needs_a_pipeline(tmp_path, small_corpus):
    with pytest.raises(Exception, match="pp is 1: use --layout.pp 2"):
        train(tmp_path, small_corpus, recorded=None, slow="micro")


@pytest.mark.parametrize("name", ["loader", "checkpoint", "heads", "sync", "tiny_ops"])
def test_the_advisor_finds_what_was_planted(tmp_path, small_corpus, name):
    """Only those that stand out however busy the machine is; `make bench` tries all of them."""
    run_dir = train(tmp_path, small_corpus, slow=name)
    findings = advise(profile_run(run_dir))
    assert name in [finding.name for finding in findings]
    for finding in findings:
        assert finding.evidence and finding.change
        assert 3 <= finding.gain_percent <= 100
    json.dumps([dataclasses.asdict(finding) for finding in findings])


def test_ranks_with_the_same_pid_on_two_nodes_write_two_traces(tmp_path):
    def recorder(rank):
        return Recorder(ProfileConfig(), tmp_path, rank, torch.device("cpu"), {}, dict)

    class Exported:
        """Stands for a profiler; while it writes rank 0's trace, rank 1 writes its own."""

        def __init__(self, rank):
            self.rank = rank

        def export_chrome_trace(self, path):
            Path(path).write_text(str(self.rank))
            if self.rank == 0:
                recorder(1)._write(Exported(1))

    recorder(0)._write(Exported(0))
    assert [trace_path(tmp_path, rank).read_text() for rank in (0, 1)] == ["0", "1"]
    assert len(list((tmp_path / "profile").iterdir())) == 2
