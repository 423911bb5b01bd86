"""Layouts that do not fit are refused before the start, with the arithmetic and a remedy."""

import dataclasses

import pytest

from course_lib.config import Layout, RunConfig
from course_lib.layout import check_layout, micro_batches, padded_vocab_size, stage_layers
from course_lib.presets import nano, small


def run_with(layout: dict, model: dict | None = None, train: dict | None = None) -> RunConfig:
    run = nano()  # 4 layers, 4 heads, d_model 128, T 128, global batch 16, micro-batch 2
    return dataclasses.replace(
        run,
        layout=Layout(**layout),
        model=dataclasses.replace(run.model, **(model or {})),
        train=dataclasses.replace(run.train, **(train or {})),
    )


def test_dp_is_what_the_other_axes_leave() -> None:
    layout = check_layout(run_with({"tp": 2, "pp": 2}), 8)
    assert (layout.dp, layout.pp, layout.tp) == (2, 2, 2)
    assert micro_batches(run_with({"tp": 2, "pp": 2}), layout) == 4


def test_everything_at_once_is_legal() -> None:
    layout = dict(dp=2, pp=2, tp=2, sp=True, virtual_stages=2, schedule="interleaved", zero=3)
    assert check_layout(run_with(layout | {"recompute": "full"}), 8).zero == 3
    assert RunConfig.from_json(run_with(layout).to_json()) == run_with(layout)
    uneven = run_with({"pp": 3, "stage_layers": (2, 1, 1)})
    assert RunConfig.from_json(uneven.to_json()) == uneven


@pytest.mark.parametrize(
    ("layout", "changes", "world_size", "expected"),
    [
        ({"tp": 2, "pp": 2}, {}, 6, "pp(2) x tp(2) = 4, but WORLD_SIZE is 6, 1.50 times that"),
        ({"tp": 2, "pp": 2}, {}, 6, "start 8 ranks, or lower one axis"),
        ({"dp": 2, "pp": 2, "tp": 2}, {}, 4, "dp(2) x pp(2) x tp(2) = 8 ranks, but WORLD_SIZE is"),
        ({"dp": 2, "pp": 2, "tp": 2}, {}, 4, "set dp to 1, leave dp out, or start 8 ranks"),
        ({"dp": 2, "tp": 4}, {}, 6, "lower one axis or start 8 ranks"),
        ({"tp": 3}, {}, 3, "num_heads(4) / tp(3) = 1.33, but every tp rank needs the same whole"),
        ({"tp": 3}, {}, 3, "use tp 2, or num_heads 6"),
        ({"tp": 4}, {"d_ff": 90}, 4, "d_ff(90) / tp(4) = 22.50"),
        ({"tp": 4}, {"d_ff": 90}, 4, "use tp 3, or d_ff 92"),
        ({"tp": 2, "sp": True}, {"seq_len": 127}, 2, "seq_len(127) / tp(2) = 63.50"),
        ({"pp": 3}, {}, 3, "num_layers(4) / (pp(3) x virtual_stages(1) = 3 stages) = 1.33"),
        ({"pp": 3}, {}, 3, "use num_layers 6, or cut unevenly with stage_layers 2 1 1"),
        ({"pp": 2, "stage_layers": (2, 1)}, {}, 2, "stage_layers 2 + 1 = 3, but num_layers is 4"),
    ],
)
def test_layouts_that_do_not_fit(layout, changes, world_size: int, expected: str) -> None:
    with pytest.raises(ValueError) as refusal:
        check_layout(run_with(layout, changes), world_size)
    assert expected in str(refusal.value)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ({"virtual_stages": 2}, "a pipeline of one rank has nothing to interleave"),
        ({"pp": 2, "virtual_stages": 2}, "set schedule to interleaved and virtual_stages to 2"),
        ({"pp": 2, "schedule": "interleaved"}, "schedule is interleaved and virtual_stages 1"),
        ({"pp": 2, "stage_layers": (4,)}, "stage_layers has 1 numbers, but pp(2) x virtual"),
        ({"pp": 2, "stage_layers": (4, 0)}, "every stage needs a layer"),
        ({"sp": True}, "sp is on, but tp is 1"),
        ({"pp": 2, "schedule": "zb_h1", "zero": 2}, "use zero 1, or schedule 1f1b"),
    ],
)
def test_layouts_that_contradict_themselves(layout: dict, expected: str) -> None:
    with pytest.raises(ValueError) as refusal:
        Layout(**layout)
    assert expected in str(refusal.value)


def test_precision_that_this_device_cannot_do() -> None:
    with pytest.raises(ValueError, match="fp16 on a CPU: its matrix products are about 200 times"):
        run_with({}, train={"precision": "fp16", "device": "cpu"})
    with pytest.raises(ValueError, match="grad_dtype is bf16, but precision is float32"):
        run_with({}, train={"grad_dtype": "bf16"})


def test_who_gets_which_layers() -> None:
    assert stage_layers(6, Layout(pp=3)) == [range(0, 2), range(2, 4), range(4, 6)]
    uneven = Layout(pp=2, stage_layers=(4, 2))
    assert stage_layers(6, uneven) == [range(0, 4), range(4, 6)]
    twice = Layout(pp=2, virtual_stages=2, schedule="interleaved")
    assert len(stage_layers(small().model.num_layers + 2, twice)) == 4


def test_a_vocabulary_is_padded() -> None:
    assert [padded_vocab_size(61, tp) for tp in (1, 2, 4)] == [61, 62, 64]
