"""Whose bytes: known cases to the byte, real steps against the counter and the plan."""

import dataclasses
import functools
import gc
import json
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from course_lib.config import Layout, RunConfig
from course_lib.grade.compare import run_config, windows
from course_lib.model.gpt import GPT
from course_lib.parallel.launch import run_ranks
from course_lib.parallel.mesh import Mesh, build_mesh
from course_lib.parallel.parallelize import parallelize
from course_lib.plan.memory import moments, state_bytes
from course_lib.plots import memory_figure, png_bytes
from course_lib.profile.memory import LiveBytes
from course_lib.profile.memory_profile import (
    MemoryProfile,
    memory_path,
    memory_report,
    read_memory,
)
from course_lib.profile.memory_timeline import (
    BINS,
    MemoryTimeline,
    watch_gradients,
    watch_layers,
)
from course_lib.train.memory_step import memory_step
from course_lib.train.optim import build_optimizer
from course_lib.train.step import StepResult, train_step
from tests.parity.layouts import case
from tests.unit.test_memory import DEEP, LAYOUTS, WIDE, a_run

KB = 1000 * 4
"""A thousand float32."""


class Scaled(nn.Module):
    """Its backward needs the result of exp, and nothing of the product in it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1000))

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.weight * 2).exp()


def ends(profile: MemoryProfile) -> dict[str, tuple[int, int]]:
    """Return by owner the bytes at the beginning and at the end."""
    return {owner: (curve[0], curve[-1]) for owner, curve in profile.bytes_by_owner.items()}


def totals(profile: MemoryProfile) -> list[int]:
    return [sum(values) for values in zip(*profile.bytes_by_owner.values(), strict=True)]


def test_owners_of_two_layers_to_the_byte() -> None:
    layers = {"one": Scaled(), "two": Scaled()}
    weights = [layer.weight for layer in layers.values()]
    x = torch.zeros(1000)
    timeline = MemoryTimeline()
    timeline.label("parameters", (weight.detach() for weight in weights))
    timeline.label("data", [x, x[:7]])
    with watch_layers(timeline, layers), watch_gradients(timeline, weights), timeline:
        y = x
        for layer in layers.values():
            y = layer(y)
        loss = y.sum()
        del y
        loss.backward()
        del loss
    profile = timeline.profile(rank=3, step=5)
    assert (profile.rank, profile.step, profile.device) == (3, 5, "cpu")
    assert ends(profile) == {
        "parameters": (2 * KB, 2 * KB),
        "data": (KB, KB),
        "gradients": (0, 2 * KB),
        "activations": (0, 0),
        "temporary": (0, 0),
    }
    # Backward has come to exp in "one", whose result it needs: "two" has its gradient and has
    # passed one on, and the next one is just there. The loss and its gradient are numbers.
    at = profile.at_peak
    assert at.bytes_by_owner == {
        "parameters": 2 * KB,
        "data": KB,
        "gradients": KB,
        "activations": KB + 2 * 4,
        "temporary": 2 * KB,
    }
    assert at.activation_bytes_by_layer == {"one": KB, "outside": 2 * 4}
    assert sum(at.bytes_by_owner.values()) == profile.peak_bytes == max(totals(profile))
    # When the loss was there, both results were.
    together = zip(*(profile.activation_bytes_by_layer[name] for name in layers), strict=True)
    assert (KB, KB) in together
    result = next(x for x in at.largest if x.layer == "one" and x.owner == "activations")
    assert (result.bytes, result.shape, result.dtype, result.op) == (
        KB,
        [1000],
        "float32",
        "aten.exp",
    )
    for layer in layers.values():
        assert not layer._forward_hooks and not layer._forward_pre_hooks
        assert not layer.weight._backward_hooks


def test_peak_and_what_was_alive_at_it() -> None:
    with MemoryTimeline() as timeline:
        x = torch.ones(1000)
        y = x.view(10, 100)[3:]
        z = torch.ones(50, 60)
        del x, z
        y += 1
        del y
        w = torch.ones(500, dtype=torch.float64)
    profile = timeline.profile()
    assert profile.peak_bytes == 4 * KB
    assert ends(profile) == {"temporary": (KB, KB)}
    assert profile.at_peak.bytes_by_owner == {"temporary": 4 * KB}
    assert [(x.bytes, x.shape, x.op) for x in profile.at_peak.largest] == [
        (3 * KB, [50, 60], "aten.ones"),
        (KB, [1000], "aten.ones"),
    ]
    assert profile.times_s == sorted(profile.times_s)
    del w  # after the end: not noted
    assert timeline.profile() == profile


def test_memory_that_changes_its_size_keeps_its_owner() -> None:
    gathered = torch.zeros(1000)
    gathered.untyped_storage().resize_(0)
    timeline = MemoryTimeline()
    timeline.label("buffers", [gathered])
    with timeline:
        gathered.untyped_storage().resize_(KB)
        x = torch.zeros(10)
        gathered.untyped_storage().resize_(0)
    profile = timeline.profile()
    assert ends(profile) == {"buffers": (0, 0), "temporary": (0, 40)}
    assert profile.at_peak.bytes_by_owner == {"buffers": KB, "temporary": 40}
    assert profile.at_peak.largest[0].shape == [1000]
    assert "resize_" not in vars(torch.UntypedStorage)
    del x


def test_what_is_known_late_counts_from_the_beginning() -> None:
    mask, x, free = torch.zeros(1000), torch.zeros(1000), torch.zeros(1000)
    timeline = MemoryTimeline()
    timeline.label("data", [x])
    with timeline:
        y = x + mask
        timeline.label("optimizer", [y])
        timeline.label("temporary", [x, y])  # the first label counts
    assert free.sum() == 0
    profile = timeline.profile()
    assert ends(profile) == {"optimizer": (0, KB), "buffers": (KB, KB), "data": (KB, KB)}


def test_a_long_step_is_thinned_but_not_its_peak() -> None:
    kept = []
    with MemoryTimeline() as timeline:
        for index in range(5000):
            x = torch.zeros(1000 if index == 3210 else 10)
            if index % 100 == 0:
                kept.append(x)
            del x
    profile = timeline.profile()
    assert len(profile.times_s) <= 2 * (BINS + 2) + 2
    assert max(totals(profile)) == profile.peak_bytes == 33 * 40 + KB
    assert len(profile.at_peak.largest) == 20
    assert totals(profile)[-1] == 50 * 40


def test_on_a_gpu_the_total_is_the_allocators() -> None:
    # 5000 bytes of a library's, then a thousand numbers more for a while.
    allocated = iter([9000, 13000, 13000])
    with (
        patch("torch.cuda.memory_allocated", lambda device: next(allocated)),
        patch("torch.cuda.max_memory_allocated", lambda device: 20000),
        patch("torch.cuda.reset_peak_memory_stats") as reset,
        FakeTensorMode(),
    ):
        weight = torch.zeros(1000, device="cuda")
        timeline = MemoryTimeline("cuda")
        timeline.label("parameters", [weight, torch.zeros(1000)])
        with timeline:
            y = weight * 2
            del y
    profile = timeline.profile()
    reset.assert_called_once()
    assert ends(profile) == {"parameters": (KB, KB), "temporary": (0, 0), "other": (5000, 5000)}
    assert profile.peak_bytes == 20000
    assert profile.at_peak.bytes_by_owner == {"parameters": KB, "temporary": KB, "other": 12000}


# Real steps


def options(run: RunConfig) -> dict:
    return {
        "micro_batch": run.train.micro_batch,
        "global_tokens": run.train.global_batch * run.model.seq_len,
        "grad_clip": 1.0,
    }


def measure(mesh: Mesh, run: RunConfig) -> tuple[int, MemoryProfile]:
    """Return the peak that the counter sees in the second step, and the step's profile."""
    with LiveBytes() as live:
        with torch.device("meta"):
            model = GPT(run.model)
        attention = "float32" if run.train.precision == "bf16" else "sdpa"
        parallel = parallelize(model, run, mesh, attention=attention)
        optimizer = build_optimizer(parallel, run.train)
        shape = (run.train.global_batch // mesh.dp.size, run.model.seq_len + 1)
        batch_local = torch.zeros(shape, dtype=torch.int64)
        train_step(parallel, optimizer, batch_local, **options(run))
        gc.collect()
        live.reset_peak()
        _, profile = memory_step(
            parallel, optimizer, batch_local, step=2, attention=attention, **options(run)
        )
    return live.peak, profile


def on_ranks(run: RunConfig, ranks: int, fn) -> list:
    if ranks == 1:
        return [fn(build_mesh(Layout()), run)]
    return run_ranks(lambda mesh: fn(mesh, run), ranks, layout=run.layout)


STEPS = [("wide", name) for name in LAYOUTS if name not in ("selective", "full", "tp2 sp")]
STEPS += [("deep", name) for name in ("one rank", "full", "dp2 zero3")]


@pytest.mark.parametrize(("shape", "name"), STEPS)
def test_owners_of_a_step_add_up_to_the_counter_and_the_plan(shape: str, name: str) -> None:
    ranks, layout = LAYOUTS[name]
    model, precision = (WIDE, "float32") if shape == "wide" else (DEEP, "bf16")
    run = a_run(model, precision, ranks, **layout)
    for rank, (peak, profile) in enumerate(on_ranks(run, ranks, measure)):
        at, planned = profile.at_peak, profile.planned_peak_bytes
        print(f"{name}, {shape}, rank {rank}: {peak} bytes, plan {planned / peak - 1:+.2%}")
        assert sum(at.bytes_by_owner.values()) == profile.peak_bytes == peak
        assert max(totals(profile)) == peak
        assert abs(planned / peak - 1) < 0.03
        state = state_bytes(run, ranks, rank)
        first = {owner: curve[0] for owner, curve in profile.bytes_by_owner.items()}
        assert first["parameters"] == state["weights"]
        assert all(first.get(k, 0) == state[k] for k in ("gradients", "master", "optimizer"))
        assert (
            first["data"]
            == run.train.global_batch
            // (ranks // run.layout.tp // run.layout.pp)
            * (run.model.seq_len + 1)
            * 8
        )
        assert first["activations"] == 0
        # Nothing is left of the step but its state and its tokens.
        for owner, curve in profile.bytes_by_owner.items():
            assert curve[-1] == (first[owner] if owner not in PASSING else 0), owner
        if "pp" not in layout and "recompute" not in layout:
            check_layers(profile, run, ranks)


PASSING = ("activations", "temporary", "buffers")


def check_layers(profile: MemoryProfile, run: RunConfig, ranks: int) -> None:
    """Check what the blocks remember against each other and the plan."""
    # At the step's fullest moment the last block may have begun to give memory back.
    last = f"blocks.{run.model.num_layers - 1}"
    layers = profile.at_peak.activation_bytes_by_layer
    blocks = {k: v for k, v in layers.items() if k.startswith("blocks.") and k != last}
    assert len(blocks) == run.model.num_layers - 1
    assert max(blocks.values()) / min(blocks.values()) < 1.001
    assert layers[last] <= max(blocks.values())
    # Gradients under way are no matter of a block's, so the plan is asked without ZeRO.
    plain = dataclasses.replace(run, layout=dataclasses.replace(run.layout, zero=0))
    how = {"attention": "float32"} if run.train.precision == "bf16" else {}
    at = moments(plain, ranks, **how)
    assert min(blocks.values()) == pytest.approx(at["block 1"] - at["block 0"], rel=0.03)


def three_steps(mesh: Mesh, run: RunConfig, recorded: tuple[int, ...]):
    with torch.device("meta"):
        model = GPT(run.model)
    parallel = parallelize(model, run, mesh)
    optimizer = build_optimizer(parallel, run.train)
    results: list[StepResult] = []
    for step in range(3):
        batch = windows(run).read(np.arange(run.train.global_batch))
        batch_local = batch.chunk(mesh.dp.size)[mesh.dp.rank]
        if step in recorded:
            result, profile = memory_step(
                parallel, optimizer, batch_local, step=step + 1, **options(run)
            )
            # Also in the first step, which makes it, the optimizer's state has its owner.
            state = state_bytes(run, mesh.world_size, mesh.rank)["optimizer"]
            assert profile.bytes_by_owner["optimizer"][-1] == state
        else:
            result = train_step(parallel, optimizer, batch_local, **options(run))
        results.append(result)
    hooks = [len(p._post_accumulate_grad_hooks or ()) for p in parallel.gradients.slots]
    return results, [shard.weight.detach().clone() for shard in parallel.shards], hooks


@pytest.mark.parametrize(
    "name",
    ["one rank, accumulation 8", "tp2 sp, full recomputation", "dp2 zero3", "pp2 zero-bubble"],
)
def test_a_recorded_step_is_the_same_step_to_the_bit(name: str) -> None:
    chosen = case(name)
    run = run_config(chosen.layout, **chosen.changes)
    for precision in ("float32", "bf16"):
        train = dataclasses.replace(run.train, precision=precision)
        changed = dataclasses.replace(run, train=train)
        plain, recorded = (
            on_ranks(changed, chosen.ranks, functools.partial(three_steps, recorded=which))
            for which in ((), (0, 1))
        )
        for one, other in zip(plain, recorded, strict=True):
            assert one[0] == other[0]
            assert all(torch.equal(a, b) for a, b in zip(one[1], other[1], strict=True))
            assert one[2] == other[2], "a hook was left behind"


# Files, text, figure


@pytest.fixture
def profile() -> MemoryProfile:
    layers = {"blocks.0": Scaled(), "blocks.1": Scaled()}
    timeline = MemoryTimeline()
    timeline.label("parameters", (layer.weight.detach() for layer in layers.values()))
    with watch_layers(timeline, layers), timeline:
        layers["blocks.1"](layers["blocks.0"](torch.zeros(1000))).sum().backward()
    return timeline.profile(rank=1, step=4, planned_peak_bytes=2**20)


def test_a_profile_survives_its_file(profile: MemoryProfile, tmp_path) -> None:
    assert profile.save(tmp_path) == tmp_path / "profile" / "memory_rank1.json"
    assert read_memory(tmp_path, 1) == profile
    assert MemoryProfile.from_json(profile.to_json()) == profile
    with pytest.raises(ValueError, match=r"memory_rank0\.json does not exist"):
        read_memory(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peak_bytes": "many"}, r"memory_rank1\.json: peak_bytes should be int, not 'many'"),
        ({"extra": 1}, r"memory_rank1\.json: extra is unknown"),
        ({"times_s": None}, r"memory_rank1\.json: times_s should be list\[float\], not 'None'"),
        ({"times_s": [0.0]}, r"bytes_by_owner\.\w+ has \d+ values, but times_s has 1"),
        ({"at_peak": {}}, r"memory_rank1\.json: at_peak\.time_s is missing"),
        ({"at_peak": 7}, r"memory_rank1\.json: at_peak is no JSON object"),
    ],
)
def test_a_damaged_file_is_named(profile: MemoryProfile, tmp_path, change, message) -> None:
    profile.save(tmp_path)
    path = memory_path(tmp_path, 1)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        read_memory(tmp_path, 1)


def test_a_damaged_tensor_is_named(profile: MemoryProfile) -> None:
    values = json.loads(profile.to_json())
    values["at_peak"]["largest"][2]["shape"] = [1, "x"]
    with pytest.raises(ValueError, match=r"at_peak\.largest\[2\]\.shape should be list\[int\]"):
        MemoryProfile.from_json(json.dumps(values))
    with pytest.raises(ValueError, match="step.json is not valid JSON"):
        MemoryProfile.from_json("{", "step.json")


def test_the_report_says_what_the_peak_was_made_of(profile: MemoryProfile) -> None:
    text = memory_report(profile)
    assert "memory of rank 1 in step 4 (cpu): peak 0.02 MiB" in text
    off = profile.planned_peak_bytes / profile.peak_bytes - 1
    assert f"planned 1.00 MiB: {off:+.2%}" in text
    for words in ("activations", "blocks.0", "1000 float32", "aten.exp in blocks.0", "parameters"):
        assert words in text


def test_the_figure_stacks_the_owners_up_to_the_peak(profile: MemoryProfile) -> None:
    figure = memory_figure(profile)
    axes = figure.axes[0]
    assert axes.get_xlabel() == "time since the step began (ms)"
    assert axes.get_ylabel() == "memory of live tensors (MiB)"
    highest = max(band.get_datalim(axes.transData).y1 for band in axes.collections)
    assert highest == pytest.approx(profile.peak_bytes / 2**20)
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend[-2:] == [f"peak {profile.peak_bytes / 2**20:.4g} MiB", "planned peak 1 MiB"]
    assert {"parameters", "activations"} <= set(legend)
    assert png_bytes(figure).startswith(b"\x89PNG")
