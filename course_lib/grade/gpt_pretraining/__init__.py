"""The checks of lab 02: what a learner writes, and what it is held against.

    merge_pair(tokens, pair, new) -> list
        Return a new list in which every occurrence of `pair` (two tokens that follow one another)
        has become the token `new`, from left to right, without overlap: of 7 7 7 the first two.
    learning_rate(step, steps, warmup_steps, peak, floor) -> float
        Step 0 is the first. It rises in equal steps to `peak` in step warmup_steps - 1; then half a
        cosine from `peak` in step warmup_steps to `floor` in step steps - 1. Held against the
        trainer's own (train/optim.py).
    count_parameters(num_layers, d_model, vocab_size, seq_len) -> int
        All numbers of a GPT with biases, an MLP of 4 d_model, learned positions and a tied head.
        Held against one that is built.
    flops_per_iteration(batch, seq_len, num_layers, d_model, vocab_size, recompute) -> number
        Of forward and backward, with the blocks recomputed or not. Held against torch's counter.
    training_days(parameters, tokens, num_gpus, flops_per_gpu) -> number
        8 T P / (n X), in days: Narayanan et al. 2021, section 5.1.
    state_bytes(num_parameters, precision, grad_dtype) -> dict
        The bytes of "weights", "gradients", "master" and "optimizer"; precision and grad_dtype are
        "float32" or "bf16".
    trained
        No function: a run folder that is handed in (grade/runs.py).

Each check of a function takes it; with hidden=True, for grading after the check without it, it
tries other numbers. All of them are tried in a process of their own, with a time limit.
"""

from collections.abc import Callable, Sequence

from course_lib.grade.checks import CheckFailed
from course_lib.grade.gpt_pretraining import counts, rates, tokens
from course_lib.grade.gpt_pretraining.counts import counted_flops
from course_lib.grade.gpt_pretraining.hints import LAB
from course_lib.grade.receipts import Wanted
from course_lib.grade.runs import check_run
from course_lib.grade.slips import Case, Slip, numbers_of, wrong_numbers
from course_lib.grade.trials import patience_s
from course_lib.presets import nano

__all__ = ["counted_flops"]

hint = LAB.hint

STEPS = 240
"""Of the run that is handed in."""
LAST_LOSS = 5.1
"""It must end below this, nats per token.

Measured: 4.77 with a peak of 3e-3 and a warm-up of 24 steps, 5.29 without the warm-up, 5.72 with a
tenth of the rate, 7.65 at the start. The text, and with it the last batch, is another one where
Python's library is."""


def check_merge_pair(
    function: Callable[[list[int], tuple[int, int], int], list[int]],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check a merge step of byte-pair encoding.

    Raises:
        CheckFailed: says what is wrong.
    """
    cases = tokens.HIDDEN if hidden else tokens.CASES

    def prove() -> str:
        results = tokens.merged_by(function, cases, limit_s=patience_s(hidden, limit_s))
        _raise(tokens.wrong_merges(results, cases))
        return f"{len(cases)} lists are merged as they should be, 7 7 7 from the left."

    LAB.check("merge_pair", function, prove, hidden=hidden)


def check_learning_rate(
    function: Callable[[int, int, int, float, float], float],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check a warm-up with a cosine behind it, at every step, against the trainer's.

    Raises:
        CheckFailed: says what is wrong.
    """
    schedules = rates.HIDDEN if hidden else rates.SCHEDULES

    def prove() -> str:
        found = rates.rates_of(function, schedules, limit_s=patience_s(hidden, limit_s))
        _raise(rates.wrong_rates(found, schedules))
        steps = sum(each[0] for each in schedules)
        return f"the rates of {steps} steps in {len(schedules)} runs are those of the trainer."

    LAB.check("learning_rate", function, prove, hidden=hidden)


def check_count_parameters(
    function: Callable[[int, int, int, int], int],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check a count of parameters against models that are built.

    Raises:
        CheckFailed: says what is wrong.
    """
    cases = counts.HIDDEN_SHAPES if hidden else counts.SHAPES

    def prove() -> str:
        right = [counts.built_parameters(*case) for case in cases]
        _judge(function, cases, right, counts.PARAMETER_SLIPS, counts.SHAPE_NAMES, hidden, limit_s)
        return f"as many as in {len(cases)} models that were built; {right[0]:,} in the first."

    LAB.check("count_parameters", function, prove, hidden=hidden)


def check_flops_per_iteration(
    function: Callable[[int, int, int, int, int, bool], float],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check a count of FLOPs against torch's counter on real steps.

    Raises:
        CheckFailed: says what is wrong.
    """
    cases = counts.HIDDEN_STEPS if hidden else counts.STEPS

    def prove() -> str:
        right = [counted_flops(*case) for case in cases]
        _judge(function, cases, right, counts.FLOP_SLIPS, counts.STEP_NAMES, hidden, limit_s)
        return (
            f"torch counted the same in {len(cases)} real steps, forward and backward; "
            f"{right[0]:,} FLOPs in the first."
        )

    LAB.check("flops_per_iteration", function, prove, hidden=hidden)


def check_training_days(
    function: Callable[[float, float, float, float], float],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check an estimate of training time.

    Raises:
        CheckFailed: says what is wrong.
    """
    cases = counts.HIDDEN_TRAININGS if hidden else counts.TRAININGS

    def prove() -> str:
        right = [counts.days(*case) for case in cases]
        _judge(
            function, cases, right, counts.TRAINING_SLIPS, counts.TRAINING_NAMES, hidden, limit_s
        )
        return (
            "GPT-3's 175 billion parameters on 1024 A100s take "
            f"{counts.days(*counts.TRAININGS[0]):.0f} days, a trillion on 3072 take "
            f"{counts.days(*counts.TRAININGS[1]):.0f}, as in section 5.1 of the paper."
        )

    LAB.check("training_days", function, prove, hidden=hidden)


def check_state_bytes(
    function: Callable[[int, str, str], dict[str, int]],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check the bytes that training keeps for its parameters, part by part.

    Raises:
        CheckFailed: says what is wrong.
    """
    cases = counts.HIDDEN_MODELS if hidden else counts.MODELS

    def prove() -> str:
        results = counts.states_by(function, cases, limit_s=patience_s(hidden, limit_s))
        _raise(counts.wrong_states(results, cases))
        return (
            "16 bytes a parameter in float32, 18 in bf16 with float32 gradients, 16 with bf16 "
            "gradients."
        )

    LAB.check("state_bytes", function, prove, hidden=hidden)


def check_trained(*, hidden: bool = False) -> None:
    """Check the run that was handed in: nano on the default text, and what it has learned.

    Raises:
        CheckFailed: says what is wrong.
        NotGradable: while grading, accounting cannot be asked.
    """
    run = nano()
    model = {name: getattr(run.model, name) for name in ("num_layers", "d_model", "vocab_size")}
    wanted = Wanted(
        config={f"model.{name}": value for name, value in model.items()}
        | {
            "model.seq_len": run.model.seq_len,
            "data.corpus": None,
            "train.steps": STEPS,
            "train.global_batch": run.train.global_batch,
        },
        last_loss_below=LAST_LOSS,
    )
    LAB.judge("trained", lambda: check_run("trained", wanted), hidden=hidden)


def _judge(
    function: Callable[..., float],
    cases: Sequence[Case],
    right: Sequence[float],
    slips: Sequence[Slip],
    names: Sequence[str],
    hidden: bool,
    limit_s: float | None,
) -> None:
    results = numbers_of(function, cases, limit_s=patience_s(hidden, limit_s))
    _raise(wrong_numbers(results, right, cases, slips, names))


def _raise(wrong: str | None) -> None:
    if wrong:
        raise CheckFailed(wrong)
