"""Configurations: what is refused, and what the message tells the learner to do."""

import ast
import dataclasses
import inspect
import json

import pytest

from course_lib import config
from course_lib.config import DataConfig, Layout, ModelConfig, RunConfig, TrainConfig
from course_lib.layout import check_layout
from course_lib.presets import PRESETS, nano


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fit_one_to_eight_ranks_and_survive_json(name: str) -> None:
    run = PRESETS[name]()
    assert run.name == name
    assert RunConfig.from_json(run.to_json()) == run
    for world_size in (1, 2, 4, 8):
        assert check_layout(run, world_size) == Layout(dp=world_size)


def test_every_field_is_documented() -> None:
    for cls in ast.parse(inspect.getsource(config)).body:
        if not isinstance(cls, ast.ClassDef):
            continue
        for field, following in zip(cls.body, [*cls.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign):
                documented = isinstance(following, ast.Expr)
                assert documented, f"{cls.name}: {ast.unparse(field)}"


def changed_train(**changes: object) -> TrainConfig:
    return dataclasses.replace(nano().train, **{"micro_batch": 4, **changes})


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (
            lambda: ModelConfig(vocab_size=8, seq_len=8, num_layers=1, num_heads=3, d_model=128),
            "d_model(128) / num_heads(3) = 42.67, but every head needs the same whole number of "
            "dims: use d_model 126 or 129, or another num_heads",
        ),
        (
            lambda: ModelConfig(vocab_size=8, seq_len=0, num_layers=1, num_heads=1, d_model=8),
            "seq_len is 0, but it must be greater than 0",
        ),
        (lambda: Layout(dp=0), "dp is 0, but it must be greater than 0"),
        (lambda: DataConfig(corpus=""), "corpus is an empty string"),
        (lambda: DataConfig(val_fraction=5), "val_fraction is 5, but it is a share of the text"),
        (
            lambda: changed_train(global_batch=30, micro_batch=4),
            "global_batch(30) / micro_batch(4) = 7.50, not a whole number of micro-batches",
        ),
        (
            lambda: changed_train(steps=10, warmup_steps=10),
            "warmup_steps(10) >= steps(10): the learning rate would never reach its full value",
        ),
        (lambda: changed_train(lr=-1.0), "lr is -1.0, but it must be greater than 0"),
        (lambda: changed_train(beta2=1.0), "beta2 is 1.0, but a running mean needs"),
        (lambda: changed_train(device="cpu", backend="nccl"), "nccl carries only GPU tensors"),
        (lambda: dataclasses.replace(nano(), name="my run"), "name is 'my run', but it becomes"),
    ],
)
def test_wrong_values_are_refused_with_arithmetic_and_remedy(build, expected: str) -> None:
    with pytest.raises(ValueError) as refusal:
        build()
    assert expected in str(refusal.value)


@pytest.mark.parametrize(
    ("dp", "global_batch", "world_size", "expected"),
    [
        (4, 32, 2, "dp(4) = 4 ranks, but WORLD_SIZE is 2: set dp to 2, leave dp out, or start 4"),
        (None, 32, 3, "global_batch(32) / (dp(3) x micro_batch(4) = 12) = 2.67"),
        (None, 32, 3, "use global_batch 24"),
        (None, 32, 16, "use global_batch 64 or micro_batch 2"),
    ],
)
def test_layouts_that_do_not_fit(dp, global_batch, world_size, expected) -> None:
    train = changed_train(global_batch=global_batch, micro_batch=4)
    run = dataclasses.replace(nano(), layout=Layout(dp=dp), train=train)
    with pytest.raises(ValueError) as refusal:
        check_layout(run, world_size)
    assert expected in str(refusal.value)


def damaged(**changes: object) -> str:
    values = json.loads(nano().to_json())
    for key, value in changes.items():
        if value is None:
            del values["train"][key]
        else:
            values["train"][key] = value
    return json.dumps(values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (damaged(learning_rate=1e-3, lr=None), "unknown: train.learning_rate; missing: train.lr"),
        (damaged(steps="100"), "train.steps is '100', but it must be int"),
        (damaged(steps=True), "train.steps is True, but it must be int"),
        (damaged(device="tpu"), "train.device is 'tpu', but it must be one of auto, cpu, cuda"),
        (damaged(steps=-5), "steps is -5"),
        ("{", "not valid JSON"),
        ("[]", "should be a JSON object"),
    ],
)
def test_damaged_json_is_refused_by_name(text: str, expected: str) -> None:
    with pytest.raises(ValueError) as refusal:
        RunConfig.from_json(text)
    assert expected in str(refusal.value)


def test_whole_numbers_are_accepted_for_real_ones() -> None:
    assert RunConfig.from_json(damaged(lr=1)).train.lr == 1.0
