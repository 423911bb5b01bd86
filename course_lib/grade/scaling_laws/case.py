"""The runs of lab 12: a ladder of five, two beside its third rung, and the sixth to foretell.

Each rung is the same model with more text, and so more budget, than the one before it; the sixth
has three times the fifth's. N counts the entries of all matrices that a token is multiplied with,
and C = 6 N D. What made the losses clean enough to be fitted, measured on the default text:

    one layer            with two, some seeds leave a plateau late: 3.9 to 4.6 for the same run
    a head of its own    tied, so small a model needs half of its steps to leave the plateau
    one width            from d_model 12 to 54, 40 tokens for each parameter, each doubling of the
                         budget brings more than the last (4.03, 3.88, 3.76, 3.60, 3.45, after two
                         more 3.00): models this narrow are not yet where the law holds
    390 steps at least   at 195 two seeds are 1 % apart, and the loss falls faster than the law
    lr = 0.24 / d_model  the best lr falls with the width; a cosine to each run's own end
"""

from course_lib.config import ModelConfig, RunConfig, TrainConfig

VOCAB_SIZE = 512
SEQ_LEN = 32
BATCH = 16
BATCH_TOKENS = BATCH * SEQ_LEN
D_MODEL = 24
FIRST_FLOPS = 2.304e10
"""The first rung's budget, 6 N D with 200,000 tokens."""
LADDER = {f"rung_{i + 1}": (D_MODEL, budget) for i, budget in enumerate((1, 2, 3, 5, 8))}
"""By name: d_model, and the budget in units of the first rung's."""
BESIDE = {"small": (14, 3), "large": (64, 3)}
"""With the third rung's budget: half its parameters, and four times."""
SIXTH = (D_MODEL, 24)
NOISE = 0.003
"""Standard deviation of a run's held-out loss over seeds, as a share of it: three ladders."""


def parameters(d_model: int) -> int:
    """Return N of a model of this lab."""
    return 12 * d_model**2 + VOCAB_SIZE * d_model


def steps_of(d_model: int, budget: float) -> int:
    """Return the steps that a budget, in units of the first rung's, pays for."""
    return int(budget * FIRST_FLOPS // (6 * parameters(d_model) * BATCH_TOKENS))


def run_of(name: str, d_model: int, budget: float) -> RunConfig:
    """Return the run of a model that spends a budget; it is small enough for one rank."""
    steps = steps_of(d_model, budget)
    return RunConfig(
        name=name.replace("_", "-"),
        model=ModelConfig(
            vocab_size=VOCAB_SIZE,
            seq_len=SEQ_LEN,
            num_layers=1,
            num_heads=2,
            d_model=d_model,
            tied_head=False,
        ),
        train=TrainConfig(
            steps=steps,
            global_batch=BATCH,
            micro_batch=BATCH,
            lr=0.24 / d_model,
            warmup_steps=steps // 10,
            val_every=2000,  # and after the last step, which is what counts
            val_sequences=2048,
            log_every=max(1, steps // 10),
            sample_tokens=0,
            tensorboard=False,
        ),
    )


def ladder_runs() -> dict[str, RunConfig]:
    """Return the seven runs by name."""
    return {name: run_of(name, *size) for name, size in (LADDER | BESIDE).items()}
