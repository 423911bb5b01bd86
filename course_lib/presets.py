"""Named runs, as functions: call one and change what you need with `dataclasses.replace`.

`tiny` is for tests (seconds), `nano` for the labs (about a minute on two CPU cores), `small` for
benchmarks; `gpt_124m` and its like are models of published size, for GPUs. Every global batch
divides for 1, 2, 4 and 8 ranks, so the same preset, and the same losses, come out on any of these.
No preset names a machine, a partition or a path.
"""

from collections.abc import Callable

from course_lib.config import ModelConfig, RunConfig, TrainConfig


def tiny() -> RunConfig:
    """Return a run that finishes in a second or two: for tests of the whole path."""
    return RunConfig(
        name="tiny",
        model=ModelConfig(vocab_size=512, seq_len=32, num_layers=2, num_heads=4, d_model=32),
        train=TrainConfig(
            steps=20,
            global_batch=16,
            micro_batch=2,
            lr=3e-3,
            warmup_steps=4,
            val_every=10,
            val_sequences=16,
            sample_tokens=16,
        ),
    )


def nano() -> RunConfig:
    """Return the labs' run: about a million parameters, about a minute on two CPU cores."""
    return RunConfig(
        name="nano",
        model=ModelConfig(vocab_size=2048, seq_len=128, num_layers=4, num_heads=4, d_model=128),
        train=TrainConfig(
            steps=360,
            # Small, because a model this small learns more from many steps than from large ones.
            global_batch=16,
            micro_batch=2,
            lr=3e-3,
            warmup_steps=40,
            val_every=90,
            val_sequences=128,
            sample_tokens=96,
        ),
    )


def small() -> RunConfig:
    """Return the benchmarks' run: 6 layers, d_model 384, about 14 million parameters."""
    return RunConfig(
        name="small",
        model=ModelConfig(vocab_size=8192, seq_len=256, num_layers=6, num_heads=6, d_model=384),
        train=TrainConfig(
            steps=100,
            global_batch=32,
            micro_batch=4,
            lr=1e-3,
            warmup_steps=20,
            val_every=50,
            val_sequences=64,
        ),
    )


def gpt_124m() -> RunConfig:
    """Return GPT-2 small, trained as GPT-3's smallest: half a million tokens a step."""
    return RunConfig(
        name="gpt_124m",
        model=ModelConfig(vocab_size=50257, seq_len=1024, num_layers=12, num_heads=12, d_model=768),
        train=TrainConfig(
            steps=5_000,  # 2.6 billion tokens, about 20 for each parameter
            global_batch=512,
            micro_batch=16,
            precision="bf16",
            lr=6e-4,
            warmup_steps=700,
            val_every=500,
            checkpoint_every=500,
        ),
    )


def gpt_350m() -> RunConfig:
    """Return GPT-2 medium, trained as GPT-3 of that size."""
    return RunConfig(
        name="gpt_350m",
        model=ModelConfig(
            vocab_size=50257, seq_len=1024, num_layers=24, num_heads=16, d_model=1024
        ),
        train=TrainConfig(
            steps=14_000,
            global_batch=512,
            micro_batch=8,
            precision="bf16",
            lr=3e-4,
            warmup_steps=700,
            val_every=1_000,
            checkpoint_every=1_000,
        ),
    )


def gpt_1_3b() -> RunConfig:
    """Return GPT-3 XL, a million tokens a step; 16 heads, as the paper's 24 do not divide 2048."""
    return RunConfig(
        name="gpt_1_3b",
        model=ModelConfig(
            vocab_size=50257, seq_len=2048, num_layers=24, num_heads=16, d_model=2048
        ),
        train=TrainConfig(
            steps=25_000,
            global_batch=512,
            micro_batch=4,
            precision="bf16",
            lr=2e-4,
            warmup_steps=400,
            val_every=1_000,
            checkpoint_every=1_000,
        ),
    )


PRESETS: dict[str, Callable[[], RunConfig]] = {
    "tiny": tiny,
    "nano": nano,
    "small": small,
    "gpt_124m": gpt_124m,
    "gpt_350m": gpt_350m,
    "gpt_1_3b": gpt_1_3b,
}
