"""Before and after: two runs handed in, which must be the same training, only faster.

Judged by configurations and receipts, which SLURM's accounting has sealed: no time here is one that
the learner wrote down.
"""

import dataclasses
import math
from typing import Any

from course_lib.config import RunConfig, planted_bottlenecks
from course_lib.grade.checks import CheckFailed
from course_lib.grade.profile_and_optimize.case import num_messages, slow_run

TARGET = 2.0
"""So many times faster the run must be."""
BUSY = "Was the machine busy with something else? Send both runs again, and nothing beside them"
MOST_MESSAGES = 12
RARE_CHECKPOINTS = 10
LOSS_RTOL = 0.01
"""Another attention core and other sums round in another way, in bf16 in the third digit."""

SAME = {
    "model": "another model is not a faster run",
    "data": "it must learn from the same text",
    "layout.pp": "the same ranks, arranged in the same way",
    "layout.tp": "the same ranks, arranged in the same way",
    "layout.sp": "the same ranks, arranged in the same way",
    "layout.zero": "the same ranks, arranged in the same way",
    "train.steps": "the same number of steps",
    "train.global_batch": "a step must read the same number of tokens: fewer of them are less work",
    "train.precision": "the same precision, so that the losses can be compared",
    "train.grad_dtype": "the same precision, so that the losses can be compared",
    "train.seed": "the same seed, so that the losses can be compared",
    **dict.fromkeys(
        [
            f"train.{name}"
            for name in (
                *("lr", "min_lr_fraction", "warmup_steps", "lr_schedule", "decay_fraction"),
                *("weight_decay", "beta1", "beta2", "grad_clip", "on_nonfinite"),
            )
        ],
        "it must learn in the same way",
    ),
}
"""What a faster run may not change, and why."""


def judge_optimized(
    before: RunConfig, after: RunConfig, first: dict[str, Any], second: dict[str, Any]
) -> str:
    """Return what was gained, or raise why the runs do not show it.

    Args:
        before: the slow run's configuration.
        after: that of the mended run.
        first: the slow run's receipt.
        second: that of the mended run.
    """
    slow = slow_run()
    # Which precision is fastest depends on the machine, and grading may happen on another.
    same = [name for name in SAME if name != "train.precision"]
    for name in (*same, "train.slow", "train.bucket_mib", "train.checkpoint_every"):
        if _field(before, name) != _field(slow, name):
            raise CheckFailed(
                f'what is handed in as "before" is not the slow run: its {name} is '
                f"{_field(before, name)}, not {_field(slow, name)}. Run section 1 again"
            )
    if _field(before, "layout.recompute") != slow.layout.recompute:
        raise CheckFailed('what is handed in as "before" is not the slow run: run section 1 again')
    for name, why in SAME.items():
        was, now = _field(before, name), _field(after, name)
        if was != now:
            raise CheckFailed(f"{_difference(name, was, now)}: {why}")
    _check_mended(after)
    _check_losses(first, second)
    if first["step_s"] is None or second["step_s"] is None:
        raise CheckFailed(
            "a run has too few steps beside those recorded to say how long one takes: record "
            f"steps {slow.profile.steps}, as the slow run does"
        )
    ratio = first["step_s"] / second["step_s"]
    if ratio < TARGET:
        raise CheckFailed(
            f"all six are mended, but the run is only {ratio:.3g} times faster, and {TARGET:g} is "
            f"the target. {BUSY}"
        )
    return (
        f"the same losses, {ratio:.3g} times as fast: {1e3 * first['step_s']:.0f} ms a step "
        f"before, {1e3 * second['step_s']:.0f} ms after (target: {TARGET:g} times)."
    )


def _field(run: RunConfig, name: str) -> Any:
    value: Any = run
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _difference(name: str, was: Any, now: Any) -> str:
    """Say what differs, of a group the first field that does."""
    if dataclasses.is_dataclass(was) and dataclasses.is_dataclass(now):
        for field in dataclasses.fields(was):
            a, b = getattr(was, field.name), getattr(now, field.name)
            if a != b:
                return f"{name}.{field.name} was {a} and is {b}"
    return f"{name} was {was} and is {now}"


def _check_mended(after: RunConfig) -> None:
    left = planted_bottlenecks(after.train.slow)
    if left:
        raise CheckFailed(
            f"still in train.slow: {', '.join(left)}. With slow='' the trainer's own pieces do "
            "what yours do"
        )
    if after.layout.recompute == "full":
        raise CheckFailed(
            "layout.recompute is still full: every block is computed twice, though the "
            "activations fit into memory"
        )
    if 0 < after.train.checkpoint_every < RARE_CHECKPOINTS:
        raise CheckFailed(
            f"train.checkpoint_every is {after.train.checkpoint_every}: that is far too often for "
            f"{after.train.steps} steps of milliseconds. 0 saves at the end only"
        )
    messages = num_messages(after)
    if messages > MOST_MESSAGES:
        raise CheckFailed(
            f"train.bucket_mib is {after.train.bucket_mib:g}, so gradients still travel in "
            f"{messages} messages: let them travel in at most {MOST_MESSAGES}, with larger buckets"
        )


def _check_losses(first: dict[str, Any], second: dict[str, Any]) -> None:
    for which in ("first_loss", "last_loss"):
        was, now = first[which], second[which]
        if was is None or now is None or was["step"] != now["step"]:
            raise CheckFailed(f"the receipts have no {which.replace('_', ' ')} of the same step")
        if not math.isclose(was["loss"], now["loss"], rel_tol=LOSS_RTOL):
            raise CheckFailed(
                f"at step {was['step']} the loss was {was['loss']:.4f} before and is "
                f"{now['loss']:.4f} after: it is not the same training any more"
            )
