"""Named models for the planner: the presets, the lecture's ten, and GPT-3. No torch.

The ten are the rows of Narayanan et al. 2021 (published.py), each with the batch of its row; GPT-3
(Brown et al. 2020, arXiv:2005.14165) has the batch with which the same paper estimates 34 days on
1024 A100s (section 5.1). All see 300 billion tokens, as GPT-3 did, with a learning rate of GPT-3's
(its table 2.1). Weights and gradients have 16 bits, so that a parameter has 16 bytes of state.
"""

import difflib
import math
from collections.abc import Callable

from course_lib.config import ModelConfig, RunConfig, TrainConfig
from course_lib.plan.published import NARAYANAN_2021, SEQ_LEN, VOCAB_SIZE, PublishedRun
from course_lib.presets import PRESETS

TOKENS = 300e9
GPT3_BATCH = 1536


def gpt_175b() -> RunConfig:
    """Return GPT-3's largest, with a vocabulary of the ten's size."""
    model = ModelConfig(
        vocab_size=VOCAB_SIZE, seq_len=SEQ_LEN, num_layers=96, num_heads=96, d_model=12288
    )
    return _run("gpt_175b", model, GPT3_BATCH, micro_batch=1)


def planned_run(name: str) -> RunConfig:
    """Return the run called `name`.

    Raises:
        ValueError: there is none; the message names the nearest and all others.
    """
    if name not in PLANNED:
        close = difflib.get_close_matches(name, PLANNED, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ValueError(f"no model {name!r}.{hint} There are: {', '.join(PLANNED)}")
    return PLANNED[name]()


def published_name(row: PublishedRun) -> str:
    """Return the name of a row's model, such as gpt_145_6b."""
    return f"gpt_{row.parameters / 1e9:g}b".replace(".", "_")


def _published(row: PublishedRun) -> Callable[[], RunConfig]:
    return lambda: _run(published_name(row), row.model, row.global_batch, row.micro_batch)


def _run(name: str, model: ModelConfig, global_batch: int, micro_batch: int) -> RunConfig:
    steps = math.ceil(TOKENS / (global_batch * model.seq_len))
    lr = 1.2e-4 if model.d_model <= 4096 else 0.6e-4
    train = TrainConfig(
        steps=steps,
        global_batch=global_batch,
        micro_batch=micro_batch,
        precision="bf16",
        grad_dtype="bf16",
        lr=lr,
        warmup_steps=steps // 100,
        checkpoint_every=1_000,
    )
    return RunConfig(name=name, model=model, train=train)


PLANNED: dict[str, Callable[[], RunConfig]] = {
    **PRESETS,
    **{published_name(row): _published(row) for row in NARAYANAN_2021},
    "gpt_175b": gpt_175b,
}
