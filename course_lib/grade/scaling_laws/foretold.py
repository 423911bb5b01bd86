"""The sixth model: is what was foretold what the ladder says, and did the run come out like that?

The prediction travels in the run's name, which is part of its configuration and of its folder: the
receipt that the job sealed holds the configuration's digest, and accounting the folder. So what was
said cannot be said afterwards. What the ladder says is fitted anew, by the right objective.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from course_lib.config import RunConfig
from course_lib.grade.checks import CheckFailed
from course_lib.grade.receipts import Wanted
from course_lib.grade.scaling_laws.case import LADDER, NOISE, SIXTH, VOCAB_SIZE, run_of
from course_lib.plan.ladder_fit import LadderLaw, fit_ladder, interval, refit_with_noise

BUDGETS = [budget for _, budget in LADDER.values()]
SIXTH_BUDGET = SIXTH[1]
UNTRAINED = math.log(VOCAB_SIZE)
FIT_TOLERANCE = 0.006
"""So far, relatively, a prediction may be from ours: other deltas, or squares, fit a little
differently."""
NARROWEST, WIDEST = 0.002, 0.12
"""Width of the interval over the loss: below, narrower than two seeds are apart."""
BAND = 0.03
"""So far, relatively, the run may be from what was foretold: ladders of three seeds were 0.1, 0.3
and 1.9 % off. A guess, as the fifth rung's loss, is refused before: no ladder says so."""
NAME = re.compile(r"sixth-(\d+\.\d{4})-from-(\d+\.\d{4})-to-(\d+\.\d{4})")


def judge_forecast(ladder: Mapping[str, float], said: Mapping[str, float]) -> str:
    """Return what is right about a prediction, or raise what is wrong.

    Args:
        ladder: held-out loss of each rung, by name.
        said: the sixth's `loss`, and the interval, `low` and `high`.
    """
    losses = _losses(ladder)
    if set(said) != {"loss", "low", "high"}:
        raise CheckFailed(
            "a prediction has three numbers: said={'loss': ..., 'low': ..., 'high': ...}; yours "
            f"has {', '.join(sorted(said)) or 'none'}"
        )
    law = fit_ladder(BUDGETS, losses)
    expected = float(law.loss(SIXTH_BUDGET))
    loss, low, high = (said[name] for name in ("loss", "low", "high"))
    if abs(loss / expected - 1) > FIT_TOLERANCE:
        raise CheckFailed(_why_off(loss, losses, law))
    _check_interval(loss, low, high)
    bounds = interval(refit_with_noise(law, BUDGETS, losses, noise=NOISE), SIXTH_BUDGET)
    return (
        f"the ladder's law gives {expected:.3f} ({bounds[0]:.3f} to {bounds[1]:.3f}), you say "
        f"{loss:.3f} ({low:.3f} to {high:.3f}), for {SIXTH_BUDGET / BUDGETS[-1]:g} times the "
        "largest budget that was run."
    )


def _losses(ladder: Mapping[str, float]) -> list[float]:
    if set(ladder) != set(LADDER):
        odd = sorted(set(ladder) - set(LADDER))
        missing = [name for name in LADDER if name not in ladder]
        what = f"there is no {odd[0][:30]!r} in it" if odd else f"{', '.join(missing)} missing"
        raise CheckFailed(f"the ladder has the five rungs {', '.join(LADDER)}: {what}")
    losses = [ladder[name] for name in LADDER]
    for name, loss in zip(LADDER, losses, strict=True):
        if loss > UNTRAINED:
            raise CheckFailed(
                f"{name} has a loss of {loss:g}, and a model that has learned nothing has "
                f"ln {VOCAB_SIZE} = {UNTRAINED:.2f}. Hand in the held-out loss after the last "
                "step, in nats per token (no perplexity, which is e to its power)"
            )
        if loss < 1:
            raise CheckFailed(
                f"{name} has a loss of {loss:g} nats per token: no model of this size foretells "
                "text that well. Hand in val_loss_last as it stands"
            )
    names = list(LADDER)
    for i in range(1, len(losses)):
        if losses[i] >= losses[i - 1]:
            raise CheckFailed(
                f"{names[i]} has more budget than {names[i - 1]} and no lower loss "
                f"({losses[i]:.4f}, {losses[i - 1]:.4f}): are two of them swapped? Else one of the "
                "runs went wrong; send the ladder again"
            )
    return losses


def _why_off(loss: float, losses: list[float], law: LadderLaw) -> str:
    """Say what a wrong prediction was made of, where that can be known."""

    def near(value: float) -> bool:
        return abs(loss / value - 1) < 0.003

    expected = float(law.loss(SIXTH_BUDGET))
    found = f"you foretell {loss:.4g}, and the law through your ladder says {expected:.3f}: "
    if near(losses[-1]):
        return (
            f"{found}yours is the fifth rung's loss, as if {SIXTH_BUDGET / BUDGETS[-1]:g} times "
            "its budget bought nothing"
        )
    if near(law.E):
        return (
            f"{found}yours is E, which the largest budget in the world would reach. The sixth's is "
            f"x = {SIXTH_BUDGET:g}, not FLOPs: A x^-alpha is not 0 there"
        )
    if near(expected - law.E):
        return f"{found}yours is A x^-alpha alone: E is missing"
    for budget, words in (
        (6.0, "the law at x = 6: x is the budget over the first rung's, not the rung's number"),
        (3.0, "the law at x = 3: that is the sixth's budget over the fifth's; x is over the "
         "first's"),
        (16.0, "the law at x = 16, as if the sixth had twice the fifth's budget"),
        (13.0, "the law at x = 13, the next after 1, 2, 3, 5, 8: the sixth's budget is no such "
         "number"),
    ):  # fmt: skip
        if near(float(law.loss(budget))):
            return f"{found}yours is {words}. It is x = {SIXTH_BUDGET:g}"
    gained, wider = losses[-1] - losses[-2], BUDGETS[-1] - BUDGETS[-2]
    if near(losses[-1] + gained * math.log(SIXTH_BUDGET / BUDGETS[-1], BUDGETS[-1] / BUDGETS[-2])):
        return (
            f"{found}yours goes on as fast as between the last two rungs. Each doubling buys less "
            "than the one before it"
        )
    if near(losses[-1] + gained / wider * (SIXTH_BUDGET - BUDGETS[-1])):
        return f"{found}yours is a straight line in the budget"
    side = "above" if loss > expected else "below"
    return (
        f"{found}{abs(loss / expected - 1):.1%} {side}. Take it from the fit: "
        f"law.loss({SIXTH_BUDGET:g})"
    )


def _check_interval(loss: float, low: float, high: float) -> None:
    if high < 1 or low < 1:
        raise CheckFailed(
            f"low {low:.4g} and high {high:.4g} are two losses, the ends of the interval; not "
            "distances from it"
        )
    if low > high:
        raise CheckFailed(f"low {low:.4g} is above high {high:.4g}: are they swapped?")
    if not low <= loss <= high:
        raise CheckFailed(
            f"the loss, {loss:.4g}, is outside of its interval, {low:.4g} to {high:.4g}"
        )
    width = (high - low) / loss
    if width < NARROWEST:
        raise CheckFailed(
            f"from {low:.4f} to {high:.4f} is {width:.2%} of the loss: narrower than what two "
            "seeds of one rung are apart. Where do the other fits put the sixth? "
            f"interval(laws, {SIXTH_BUDGET:g})"
        )
    if width > WIDEST:
        raise CheckFailed(
            f"from {low:.4f} to {high:.4f} is {width:.0%} of the loss: that is always right and "
            f"tells nothing. Take interval(laws, {SIXTH_BUDGET:g}), of the sixth's budget"
        )


def name_of(said: Mapping[str, float]) -> str:
    """Return the run's name that holds a prediction."""
    return "sixth-{loss:.4f}-from-{low:.4f}-to-{high:.4f}".format(**said)


def wanted_sixth() -> Wanted:
    """Return what the sixth run must be; its name and seed are free."""
    run = run_of("sixth", *SIXTH)
    config = {
        f"model.{name}": getattr(run.model, name)
        for name in ("d_model", "num_layers", "num_heads", "vocab_size", "seq_len", "tied_head")
    }
    config |= {
        f"train.{name}": getattr(run.train, name)
        for name in ("steps", "global_batch", "lr", "warmup_steps", "val_sequences")
    }
    return Wanted(config=config | {"data.corpus": None})


def judge_sixth(run: RunConfig, receipt: Mapping[str, Any], said: Mapping[str, float]) -> str:
    """Return how well the sixth was foretold, or raise what is wrong.

    Args:
        run: its configuration, which the receipt vouches for.
        receipt: its receipt.
        said: the prediction that was handed in.
    """
    sent = NAME.fullmatch(run.name)
    if sent is None:
        raise CheckFailed(
            f"the run is named {run.name[:60]!r} and carries no prediction: send it as "
            "sixth_run(), which puts yours into its name"
        )
    if run.name != name_of(said):
        raise CheckFailed(
            f"the run was sent with {sent[1]} ({sent[2]} to {sent[3]}), and handed in is "
            f"{said['loss']:.4f} ({said['low']:.4f} to {said['high']:.4f}): a prediction that is "
            "changed after the run is none. Hand in the one that the run was sent with"
        )
    held_out = receipt.get("held_out_loss")
    if held_out is None or held_out["step"] != run.train.steps:
        raise CheckFailed(
            "the receipt has no held-out loss after the last step: send the run again"
        )
    loss, (foretold, low, high) = held_out["loss"], (float(number) for number in sent.groups())
    off = loss / foretold - 1
    if abs(off) > BAND:
        raise CheckFailed(
            f"foretold was {foretold:.3f}, and the run reached {loss:.3f}: {abs(off):.1%} "
            f"{'above' if off > 0 else 'below'}, and a fit to a sound ladder is within {BAND:.1%}. "
            "Look at the ladder: which rung lies off the line? Send the ladder again, fit, "
            "foretell, and send the sixth once more"
        )
    inside = "inside" if low <= loss <= high else "outside"
    return (
        f"Foretold {foretold:.3f} before the job began, reached {loss:.3f}: {abs(off):.2%} off, "
        f"{inside} your interval."
    )
