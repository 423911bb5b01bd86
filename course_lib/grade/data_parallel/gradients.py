"""A learner's average and sum of gradients: tried on real ranks, compared with one process."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.config import RunConfig
from course_lib.grade import compare
from course_lib.grade.checks import CheckFailed
from course_lib.grade.signatures import (
    Gradients,
    Suspect,
    factor_words,
    is_factor,
    names_words,
    say_what_is_wrong,
    total,
)
from course_lib.grade.trials import plain_tensor
from course_lib.parallel.mesh import Mesh


@dataclass
class Changed:
    """A rank's gradients before and after the learner's function."""

    before: Gradients
    after: Gradients
    weights_changed: bool = False


def around(model: nn.Module, change: Callable[[], object]) -> Changed:
    """Call a function and return what it does to a model's gradients."""
    before = {name: grad.clone() for name, grad in _gradients(model).items()}
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    change()
    after = {
        name: plain_tensor(gradient, f"the gradient of {name} is now")
        for name, gradient in _gradients(model).items()
    }
    lost = [name for name in before if name not in after]
    if lost:
        raise CheckFailed(f"gradients are gone, p.grad is None: {names_words(lost)}")
    same = all(
        torch.equal(p, weight) for p, weight in zip(model.parameters(), weights, strict=True)
    )
    return Changed(before, after, not same)


def _gradients(model: nn.Module) -> dict[str, Tensor]:
    """Return gradients by name, without the chunk's number that the trainer puts before it."""
    named = compare.gradients_of(model)
    return {name.removeprefix("0."): gradient for name, gradient in named.items()}


def sequences(run: RunConfig, shares: Sequence[int], rank: int | None = None) -> Tensor:
    """Return a rank's share (B_local, T + 1) of made-up tokens; of all ranks without a rank."""
    tokens = compare.windows(run).read(np.arange(sum(shares)))
    return tokens if rank is None else tokens.split(list(shares))[rank]


def backward(model: nn.Module, tokens: Tensor) -> None:
    """Fill in the gradients of the mean token loss."""
    F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()


@functools.cache
def own_gradients(run: RunConfig, shares: tuple[int, ...], rank: int) -> Gradients:
    """Return a rank's gradients of its own share, as it has them before anything is summed.

    Computed where the answer is judged: what the ranks of a trial say of it proves nothing.
    """
    model = compare.build_model(run)
    backward(model, sequences(run, shares, rank))
    return compare.gradients_of(model)


def average_once(mesh: Mesh, run: RunConfig, shares: Sequence[int], function: Callable) -> Changed:
    model = compare.build_model(run)
    tokens = sequences(run, shares, mesh.rank)
    backward(model, tokens)
    return around(model, lambda: function(model, mesh, tokens[:, 1:].numel()))


def wrong_average(ranks: list[Changed], run: RunConfig, shares: Sequence[int]) -> str | None:
    model = compare.build_model(run)
    backward(model, sequences(run, shares))
    expected = compare.gradients_of(model)
    n = len(shares)

    def of_whole_batch(factor: float) -> str:
        why = ""
        if is_factor(factor, n):
            why = (
                ": the mean is the sum divided by the tokens of all ranks. Divided by nothing, or "
                "by this rank's own tokens?"
            )
        elif is_factor(factor, 1 / n):
            why = ": divided by the number of ranks once too often?"
        elif is_factor(factor, sum(shares) * run.model.seq_len):
            why = ", the number of all tokens: summed, but not divided by it"
        return f"every gradient is exactly {factor_words(factor)}{why}"

    def of_equal_weights(factor: float) -> str:
        off = "" if is_factor(factor, 1) else f" And it is {factor_words(factor)}."
        return (
            "every rank's gradient counts the same, however many tokens it comes from. That is "
            "right only for equal numbers: weigh each with its num_tokens." + off
        )

    before = [own_gradients(run, tuple(shares), rank) for rank in range(n)]
    suspects = [
        Suspect(expected, of_whole_batch),
        Suspect(total(before, [1 / n] * n), of_equal_weights),
    ]
    return _weights_touched(ranks) or say_what_is_wrong(
        before, [rank.after for rank in ranks], expected, suspects
    )


def _weights_touched(ranks: Sequence[Changed]) -> str | None:
    if any(rank.weights_changed for rank in ranks):
        return "your function changed the weights: it is p.grad that must change, not p or p.data"
    return None


@dataclass
class Trained:
    first: Changed
    outcome: compare.Outcome
    along_dp: tuple[int, ...]
    """The ranks that hold the same parameters as this one."""


def train_with(mesh: Mesh, run: RunConfig, function: Callable) -> Trained:
    calls: list[Changed] = []

    def reduce(model: nn.Module, mesh: Mesh) -> None:
        calls.append(around(model, lambda: function(model, mesh)))

    outcome = compare.on_mesh(mesh, run, reduce=reduce)
    return Trained(calls[0], outcome, mesh.dp.ranks)


def wrong_training(ranks: list[Trained], run: RunConfig) -> str | None:
    for group in sorted({rank.along_dp for rank in ranks}):
        changed = [ranks[rank].first for rank in group]
        n = len(group)
        before = [change.before for change in changed]

        def of_sum(factor: float, n: int = n) -> str:
            why = ""
            if is_factor(factor, 1 / n):
                why = (
                    ": divided by the number of ranks? The trainer has divided already, by the "
                    "tokens of the whole batch (train/step.py)"
                )
            elif is_factor(factor, n):
                why = ": summed twice, or multiplied by the number of ranks?"
            return f"every gradient is exactly {factor_words(factor)}{why}"

        expected = total(before)
        wrong = _weights_touched(changed) or say_what_is_wrong(
            before,
            [change.after for change in changed],
            expected,
            [Suspect(expected, of_sum)],
        )
        if wrong:
            more = "" if n == len(ranks) else ". Sum over mesh.dp and no other axis"
            return wrong + more
    errors = [compare.errors_of(rank.outcome, compare.reference(run)) for rank in ranks]
    compare.check_covered([r.outcome.gradients for r in ranks], compare.reference(run).gradients)
    worst = {kind: max(error[kind] for error in errors) for kind in errors[0]}
    if max(worst.values()) < compare.RTOL:
        return None
    off = max(worst, key=lambda kind: worst[kind])
    return (
        f"the first step is right, but after {compare.STEPS} steps the {off} is off by "
        f"{100 * worst[off]:.3g} %: does your function keep something from one call to the next?"
    )
