"""The proof can fail: known mistakes of parallel training are planted, and each one is caught.

A mistake moves some number by a percent or more, a correct layout by 1e-15; the tests ask for 1e-3,
so that nothing that is merely imprecise passes for a bug. Every bug is a small change of the real
code while it runs in the forked ranks; its docstring says what was done wrong. The library knows
nothing of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import nn

from course_lib.grade import compare
from course_lib.grade.compare import RTOL, run_config, worst_error
from course_lib.layout import padded_vocab_size
from course_lib.model.gpt import Positions
from course_lib.model.product import weight_gradient
from course_lib.parallel import comm, data, parallelize, pipeline, tensor, zero
from course_lib.parallel.data import sum_gradients
from course_lib.parallel.launch import RanksFailed
from course_lib.parallel.mesh import Mesh
from tests.parity.layouts import case

OBVIOUS = 1e-3


@dataclass
class Bug:
    """A mistake, the layout that shows it, and how it gets in."""

    name: str
    layout: str
    options: dict[str, Any]
    """For `on_mesh`: a context in which the code is broken, or a wrong piece for a seam."""


BUGS: list[Bug] = []


def planted(*layouts: str, seam: str = "bug") -> Callable[[Callable], Callable]:
    """Enter a function in the list: by itself it is the wrong piece, or returns the context."""

    def enter(function: Callable) -> Callable:
        name = function.__name__.replace("_", " ")
        BUGS.extend(Bug(name, layout, {seam: function}) for layout in layouts)
        return function

    return enter


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug.name}-{bug.layout}")
def test_bug_is_caught(bug: Bug, row) -> None:
    chosen = case(bug.layout)
    errors = worst_error(run_config(chosen.layout, **chosen.changes), chosen.ranks, **bug.options)
    shown = {kind: error if error > RTOL else "equal" for kind, error in errors.items()}
    row("planted bugs: what is no longer equal", bug=bug.name, layout=bug.layout, **shown)
    assert max(errors.values()) > OBVIOUS, errors


# Data parallel


@planted("dp2", "dp4", seam="reduce")
def no_all_reduce(model: nn.Module, mesh: Mesh) -> None:
    """Forget to communicate: every rank keeps the gradient of its own part."""


@planted("dp4", seam="reduce")
def mean_over_this_rank_only(model: nn.Module, mesh: Mesh) -> None:
    """Divide by what this rank has seen, not by the global count: dp times too large."""
    sum_gradients(model, mesh)
    for parameter in model.parameters():
        parameter.grad.mul_(mesh.dp.size)


@planted("dp2", seam="reduce")
def divided_twice(model: nn.Module, mesh: Mesh) -> None:
    """Average over the ranks although the step divides by the global count: dp times too small."""
    sum_gradients(model, mesh)
    for parameter in model.parameters():
        parameter.grad.div_(mesh.dp.size)


@planted("dp2", seam="reduce")
def one_weight_forgotten(model: nn.Module, mesh: Mesh) -> None:
    """Reduce all weights but one."""
    for name, parameter in model.named_parameters():
        if not name.endswith("blocks.1.mlp.up.weight"):
            comm.all_reduce(parameter.grad, mesh.dp)


@planted("dp4", seam="reduce")
def gradient_of_rank_zero(model: nn.Module, mesh: Mesh) -> None:
    """Make all ranks agree, but on the wrong thing: rank 0's gradient."""
    for parameter in model.parameters():
        comm.broadcast(parameter.grad, mesh.dp)


@planted("tp2 x dp2", seam="reduce")
def summed_over_the_world(model: nn.Module, mesh: Mesh) -> None:
    """Sum over all ranks, although the tp ranks hold different parts of the weights."""
    for parameter in model.parameters():
        comm.all_reduce(parameter.grad, mesh.world)


@planted("dp4")
def same_share_on_every_rank(mesh: Mesh):
    """Every dp rank reads the first share of the batch."""
    share = compare.share
    return patch.object(compare, "share", lambda indices, dp, rank: share(indices, dp, 0))


@planted("tp2 x dp2")
def share_by_global_rank(mesh: Mesh):
    """The ranks of a tp group read different sequences."""
    share = compare.share
    return patch.object(
        compare, "share", lambda indices, dp, rank: share(indices, dp, mesh.rank % dp)
    )


@planted("dp2", "tp2")
def initial_weights_by_rank(mesh: Mesh):
    """Every rank seeds its weights differently."""
    fill = compare.init_weights
    return patch.object(
        compare,
        "init_weights",
        lambda model, config, seed: fill(model, config, seed + mesh.rank),
    )


@planted("dp2")
def reduced_after_every_micro_batch(mesh: Mesh):
    """Sum over the ranks each time, and so the earlier micro-batches again and again."""
    add = data.Bucketed._add

    def add_and_reduce(self, bucket, slot, gradient) -> None:
        add(self, bucket, slot, gradient)
        if slot.arrived + 1 < self.expected:
            comm.all_reduce(bucket.gradients[slot.offset : slot.stop], self._axis)

    return patch.object(data.Bucketed, "_add", add_and_reduce)


@planted("dp2")
def last_steps_gradient_not_dropped(mesh: Mesh):
    """Add to what is in the bucket from the step before: right once, wrong from then on."""

    def only_add(self, bucket, slot, gradient) -> None:
        bucket.gradients[slot.offset : slot.stop] += gradient.flatten()

    return patch.object(data.Bucketed, "_add", only_add)


@planted("dp2")
def bucket_sent_before_its_last_gradient(mesh: Mesh):
    """Start the all-reduce when the first of its gradients is complete, not the last."""
    reduce, arrived = data.Bucketed._reduce, data.Bucketed.arrived

    def too_early(self, parameter) -> None:
        bucket = self._bucket_of[parameter]
        first = parameter is bucket.slots[0].parameter
        if first and self.slots[parameter].arrived + 1 == self.expected:
            reduce(self, bucket).wait()
        arrived(self, parameter)

    return patch.multiple(data.Bucketed, arrived=too_early, _reduce=lambda self, bucket: None)


# ZeRO


@planted("dp2 zero1", "dp2 zero2")
def new_weights_not_gathered(mesh: Mesh):
    """Update the own part and go on: the other parts stay at their first values."""
    return patch.object(zero.Sharded, "publish", data.Gradients.publish)


@planted("dp2 zero2", "dp2 zero3")
def only_the_last_micro_batch_kept(mesh: Mesh):
    """Overwrite the own part of the gradient where it should be added to."""
    land = zero.Sharded._land

    def overwrite(self) -> None:
        if self._in_flight is not None:
            bucket, part, _ = self._in_flight
            self._in_flight = (bucket, part, True)
        land(self)

    return patch.object(zero.Sharded, "_land", overwrite)


@planted("dp2 zero1", "dp2 zero3")
def norm_of_rank_zeros_part(mesh: Mesh):
    """Count on dp rank 0 only, as is right while every dp rank holds everything."""
    counts = parallelize._counts
    return patch.object(parallelize, "_counts", lambda *given: counts(*given) and mesh.dp.rank == 0)


@planted("dp2 zero3")
def weights_gathered_once(mesh: Mesh):
    """Keep the weights that the first forward pass has gathered: later steps use old ones."""
    return patch.object(zero, "release", lambda bucket: None)


# Tensor parallel


@planted("tp2")
def f_without_all_reduce(mesh: Mesh):
    """The entrance of a pair passes its partial gradient on: f's backward is missing."""
    return patch.object(comm, "copy_to", lambda x, axis: x)


@planted("tp2", "tp4")
def g_without_all_reduce(mesh: Mesh):
    """The exit of a pair passes its partial sums on: g's forward is missing."""
    return patch.object(comm, "reduce_from", lambda x, axis: x)


@planted("tp2")
def g_sums_backward_too(mesh: Mesh):
    """Differentiate the all-reduce as a sum of all ranks' inputs: tp times too large, per pair."""

    def backward(ctx, *grads):
        return comm.all_reduce(grads[0].clone(), ctx.axis), None

    def forward(ctx, x, axis):
        ctx.axis = axis
        return comm.all_reduce(x.clone(), axis)

    wrong = type(
        "Wrong",
        (torch.autograd.Function,),
        {"forward": staticmethod(forward), "backward": staticmethod(backward)},
    )
    return patch.object(comm, "_Reduce", wrong)


@planted("tp2")
def bias_added_by_every_rank(mesh: Mesh):
    """Add the bias of a row layer before the sum: it arrives tp times."""

    def forward(self, input):
        return comm.reduce_from(self.multiply(input, self.weight, self.bias), self.axis)

    return patch.object(tensor.RowParallelLinear, "forward", forward)


@planted("tp2")
def qkv_cut_as_one_block(mesh: Mesh):
    """Cut query, key and value as one matrix: rank 0 of 2 gets all of q and half of k."""
    table = {**tensor.SHARD_TABLE, "attention.qkv": "column"}
    apply = parallelize.apply_tensor_parallel
    return patch.object(
        parallelize,
        "apply_tensor_parallel",
        lambda chunk, axis, *, sp, **_: apply(chunk, axis, sp=sp, table=table),
    )


@planted("tp2, odd vocabulary")
def vocabulary_offset_without_padding(mesh: Mesh):
    """Begin at rank x V/tp rounded down, although the parts are as long as V/tp rounded up."""
    look_up = tensor.VocabParallelEmbedding.forward

    def forward(self, tokens):
        return look_up(self, tokens + self.axis.rank)  # for 61 on 2 ranks: 30 and not 31

    return patch.object(tensor.VocabParallelEmbedding, "forward", forward)


@planted("tp2, odd vocabulary")
def padding_counted_in_the_loss(mesh: Mesh):
    """Let the columns beyond the vocabulary take part in the softmax."""
    loss = parallelize.vocab_parallel_loss

    def unmasked(logits, targets, axis, vocab_size):
        return loss(logits, targets, axis, padded_vocab_size(vocab_size, axis.size))

    return patch.object(parallelize, "vocab_parallel_loss", unmasked)


@planted("one rank, accumulation 8")
def every_token_predicts_itself(mesh: Mesh):
    """Compare the logits with the tokens that went in, not with those that follow."""
    loss = parallelize.vocab_parallel_loss
    return patch.object(
        parallelize,
        "vocab_parallel_loss",
        lambda logits, targets, axis, vocab_size: loss(
            logits, targets.roll(1, 1), axis, vocab_size
        ),
    )


# Sequence parallel


@planted("tp2 sp", "tp2 sp x pp2 zero-bubble")
def norm_gradients_not_summed_over_tp(mesh: Mesh):
    """Take the gradients of norms and row biases for complete: each rank saw T/tp tokens."""
    build = parallelize.ParallelModel
    return patch.object(
        parallelize,
        "ParallelModel",
        lambda **fields: build(**fields | {"partial_over_tp": frozenset()}),
    )


@planted("tp4 sp")
def positions_not_offset(mesh: Mesh):
    """Give every part of the sequence the positions of the first."""

    def rows(self, length):
        return self.weight[: length // self.axis.size]

    return patch.object(tensor.SequenceParallelPositions, "rows", rows)


@planted("tp2 sp")
def gradient_of_the_gather_not_summed(mesh: Mesh):
    """In backward keep the own part of the gradient, without what the other ranks have for it."""
    multiply = tensor.linear_by_hand

    def without_sum(x, weight, bias, *, gather=None, defer=None):
        full = x if gather is None else comm.gather_from(x, gather)
        return multiply(full, weight, bias, defer=defer)

    return patch.object(tensor, "linear_by_hand", without_sum)


# Pipeline


@planted("pp2", "pp2 interleaved")
def divided_by_the_micro_batches(mesh: Mesh):
    """Take the mean over micro-batches although the loss is a sum: M times too small."""
    run = parallelize.ParallelModel.forward_backward
    return patch.object(
        parallelize.ParallelModel,
        "forward_backward",
        lambda self, micro_batches, scale: run(self, micro_batches, scale / len(micro_batches)),
    )


@planted("pp2", "pp2 zero-bubble")
def last_micro_batch_dropped(mesh: Mesh):
    """Lose the last micro-batch, as a loop whose end is off by one does."""
    run = parallelize.ParallelModel.forward_backward
    return patch.object(
        parallelize.ParallelModel,
        "forward_backward",
        lambda self, micro_batches, scale: run(self, micro_batches[:-1], scale),
    )


@planted("pp2 gpipe", "pp2")
def gradient_of_the_micro_batch_before(mesh: Mesh):
    """Send back the gradient of micro-batch i - 1 where that of i belongs."""
    exchange = comm.exchange
    before: list[torch.Tensor] = []

    def one_late(messages, axis):
        late = []
        for message in messages:
            if isinstance(message, comm.Send) and axis.rank == axis.size - 1:
                before.append(message.tensor)
                message = comm.Send(before[max(len(before) - 2, 0)], message.peer)
            late.append(message)
        return exchange(late, axis)

    return patch.object(comm, "exchange", one_late)


@planted("pp2 zero-bubble", "pp4 zero-bubble")
def late_weight_gradient_of_a_newer_micro_batch(mesh: Mesh):
    """Let W use the newest output gradient of its layer, not that of its own micro-batch."""
    newest: dict[nn.Parameter, torch.Tensor] = {}

    def defer(self, weight, bias, x, dy) -> None:
        newest[weight] = dy

        def compute() -> None:
            self._add(weight, weight_gradient(x, newest[weight]))
            if bias is not None:
                self._add(bias, newest[weight].flatten(0, -2).sum(0))

        self._current.append(compute)

    return patch.object(pipeline.WeightGradients, "defer", defer)


@planted("pp2 x dp2 zero1")
def tied_table_not_summed_over_the_ends(mesh: Mesh):
    """Let the first and the last stage each keep their own half of the table's gradient."""
    all_reduce = comm.all_reduce

    def all_but_ends(value, axis, **options):
        return value if axis.name == "ends" else all_reduce(value, axis, **options)

    return patch.object(comm, "all_reduce", all_but_ends)


# The norm by which gradients are clipped


@planted("pp2", "pp4 uneven")
def norm_per_stage(mesh: Mesh):
    """Clip by the norm of the own stage's gradient."""
    all_reduce = comm.all_reduce

    def own_squares(value, axis, **options):
        own = value.clone()
        value = all_reduce(value, axis, **options)
        if axis.name == "world":
            value[1] = own[1]
        return value

    return patch.object(comm, "all_reduce", own_squares)


@planted("pp2", "pp2 x dp2 zero3")
def tied_table_counted_at_both_ends(mesh: Mesh):
    """Count the table's gradient twice, as it is there twice."""
    counts = parallelize._counts

    def both(shard, run, layout, mesh):
        table = parallelize.is_tied_table(shard.piece.name, run)
        return counts(shard, run, layout, mesh) or (
            table and (layout.zero > 0 or mesh.dp.rank == 0)
        )

    return patch.object(parallelize, "_counts", both)


@planted("tp2")
def copies_counted_by_every_tp_rank(mesh: Mesh):
    """Count norms, positions and row biases on each of the ranks that hold a copy."""
    return patch.object(parallelize, "_counts", lambda *given: True)


def test_a_weight_without_a_gradient_stops_the_step() -> None:
    """Its gradient would be that of the step before."""

    def positions_not_used(mesh: Mesh):
        return patch.object(Positions, "forward", lambda self, tokens, vectors: vectors)

    with pytest.raises(
        RanksFailed, match="positions.weight got a gradient from 0 of 4 micro-batch"
    ):
        worst_error(run_config(), 2, bug=positions_not_used)


def test_a_different_correct_reduction_is_not() -> None:
    def one_by_one(model: nn.Module, mesh: Mesh) -> None:
        for parameter in reversed(list(model.parameters())):
            parameter.grad.copy_(comm.all_reduce(parameter.grad.clone(), mesh.dp))

    assert max(worst_error(run_config(), 4, reduce=one_by_one).values()) < RTOL


def test_adam_would_hide_a_wrong_factor() -> None:
    """Why gradients are compared and not losses: Adam's step does not see a factor of 8."""
    steps = []
    for factor in (1.0, 8.0):
        weight = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        optimizer = torch.optim.AdamW([weight], lr=0.1)
        weight.grad = factor * torch.tensor([0.3, -0.7], dtype=torch.float64)
        optimizer.step()
        steps.append(weight.detach().clone())
    assert torch.allclose(*steps, rtol=1e-6)
