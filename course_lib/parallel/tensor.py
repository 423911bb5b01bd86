"""Tensor parallelism: every layer is cut into tp parts, and the parts meet in two places per half.

Cut the first matrix of a pair by columns and the second by rows, and the hidden layer between never
has to be put together (Shoeybi et al. 2019, arXiv:1909.08053, section 3):

    x (B, T, D)  --column-->  (B, T, F/tp)  --row-->  (B, T, D)+tp  --all-reduce-->  (B, T, D)

With sequence parallelism (Korthikanti et al. 2022, arXiv:2205.05198, section 4.2.2) what lies
between the pairs is cut along T: the all-reduce becomes a reduce-scatter, the entrance an
all-gather. The token table is cut by rows of the vocabulary, and so are the logits: the loss is
computed without ever putting them together. Lab 07 builds it. Left out on purpose: overlap of the
entrance's all-reduce with the weight gradient.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.layout import padded_vocab_size
from course_lib.model.gpt import GPT, Linear, Positions
from course_lib.model.product import linear, matmul, weight_gradient
from course_lib.parallel import comm
from course_lib.parallel.mesh import Axis
from course_lib.parallel.slices import Slice

Rule = Literal["qkv", "column", "row", "vocab"]
ShardTable = Mapping[str, Rule]
"""How each layer is cut, by the end of its name."""

SHARD_TABLE: ShardTable = {
    "attention.qkv": "qkv",  # by columns too, but query, key and value each: every rank whole heads
    "attention.out": "row",
    "mlp.up": "column",
    "mlp.down": "row",
    "tokens": "vocab",
    "head": "vocab",
}

Defer = Callable[[nn.Parameter, nn.Parameter | None, Tensor, Tensor], None]
"""Takes (weight, bias, x, dy) of a linear layer whose weight gradient is to be computed later."""


class ColumnParallelLinear(Linear):
    """Entrance of a pair: (B, T, D) -> (B, T, F/tp); with sequence parallelism (B, T/tp, D) in."""

    def __init__(self, layer: Linear, cut: Slice, axis: Axis, sp: bool) -> None:
        nn.Module.__init__(self)
        self.axis, self.sp = axis, sp
        self.defer: Defer | None = None
        self.weight = nn.Parameter(cut.cut(layer.weight.detach()))
        bias = layer.bias
        self.bias = None if bias is None else nn.Parameter(cut.of_bias().cut(bias.detach()))

    def forward(self, input: Tensor) -> Tensor:
        if self.sp:
            return linear_by_hand(input, self.weight, self.bias, gather=self.axis, defer=self.defer)
        return self.multiply(comm.copy_to(input, self.axis), self.weight, self.bias)


class RowParallelLinear(Linear):
    """Exit of a pair: (B, T, F/tp) -> (B, T, D); under sequence parallelism to (B, T/tp, D)."""

    def __init__(self, layer: Linear, cut: Slice, axis: Axis, sp: bool) -> None:
        nn.Module.__init__(self)
        self.axis, self.sp = axis, sp
        self.weight = nn.Parameter(cut.cut(layer.weight.detach()))
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach())

    def forward(self, input: Tensor) -> Tensor:
        y = self.multiply(input, self.weight, None)
        y = comm.reduce_scatter_to(y, self.axis) if self.sp else comm.reduce_from(y, self.axis)
        # After the sum: inside it, the bias would be added tp times.
        return y if self.bias is None else y + self.bias


class VocabParallelEmbedding(nn.Module):
    """Look up tokens (B, T) in this rank's rows of the table; the other ranks add theirs."""

    def __init__(self, table: nn.Embedding, cut: Slice, axis: Axis, sp: bool) -> None:
        super().__init__()
        self.axis, self.sp = axis, sp
        self.weight = nn.Parameter(cut.cut(table.weight.detach()))

    def forward(self, tokens: Tensor) -> Tensor:
        rows = self.weight.shape[0]
        local = tokens - self.axis.rank * rows
        here = (local >= 0) & (local < rows)
        x = F.embedding(local.clamp(0, rows - 1), self.weight) * here.unsqueeze(-1)
        return comm.reduce_scatter_to(x, self.axis) if self.sp else comm.reduce_from(x, self.axis)


class SequenceParallelPositions(Positions):
    """The position table for a part of the sequence: vectors (B, T/tp, D) of this rank's tokens."""

    def __init__(self, table: Positions, axis: Axis) -> None:
        nn.Module.__init__(self)
        self.axis, self.num_embeddings = axis, table.num_embeddings
        self.weight = nn.Parameter(table.weight.detach())

    def rows(self, length: int) -> Tensor:
        return super().rows(length).chunk(self.axis.size)[self.axis.rank]


def apply_tensor_parallel(
    model: GPT, axis: Axis, *, sp: bool = False, table: ShardTable = SHARD_TABLE
) -> dict[str, Slice]:
    """Cut the layers of a model over the tp axis, in place; return how each parameter was cut.

    Args:
        model: whole layers, real or on the meta device; it may lack layers (a pipeline stage).
        axis: the tp axis.
        sp: whether to cut the sequence between the pairs.
        table: how to cut each layer.

    Returns:
        A Slice for every parameter by its name, also for those that every rank holds whole.
    """
    slices = {name: Slice(shape=tuple(p.shape)) for name, p in model.named_parameters()}
    if axis.size == 1:
        return slices
    tied = model.head is not None and model.tokens is not None and model.config.tied_head
    for name, layer in list(model.named_modules()):
        rule = next((rule for end, rule in table.items() if name.endswith(end)), None)
        if rule is None:
            continue
        parent = model.get_submodule(name.rpartition(".")[0])
        weight_shape = tuple(layer.weight.shape)  # type: ignore[arg-type]
        cut = Slice(
            shape=weight_shape,
            dim=1 if rule == "row" else 0,
            blocks=3 if rule == "qkv" else 1,
            parts=axis.size,
            index=axis.rank,
        )
        slices[f"{name}.weight"] = cut
        if isinstance(layer, nn.Embedding):
            new: nn.Module = VocabParallelEmbedding(layer, cut, axis, sp)
        elif rule == "row":
            new = RowParallelLinear(layer, cut, axis, sp)  # type: ignore[arg-type]
        else:
            new = ColumnParallelLinear(layer, cut, axis, sp)  # type: ignore[arg-type]
            if f"{name}.bias" in slices:
                slices[f"{name}.bias"] = cut.of_bias()
        setattr(parent, name.rpartition(".")[2], new)
    if tied:
        model.head.weight = model.tokens.weight  # type: ignore[union-attr]
        slices.pop("head.weight", None)
    if sp and isinstance(model.positions, Positions):
        model.positions = SequenceParallelPositions(model.positions, axis)
    return slices


def linear_by_hand(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    gather: Axis | None = None,
    defer: Defer | None = None,
) -> Tensor:
    """Return x @ weight^T + bias with a backward pass of our own.

    Args:
        x: (B, T, in), or (B, T/tp, in) with `gather`. Then it is all-gathered for the product, but
            only the part is remembered, and gathered again in backward: less memory for one more
            message, as Megatron does.
        weight: (out, in).
        bias: (out,).
        gather: the tp axis under sequence parallelism.
        defer: takes over the weight gradient; backward then computes the input's gradient only.
    """
    return _LinearByHand.apply(x, weight, bias, gather, defer)  # type: ignore[return-value]


class _LinearByHand(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: nn.Parameter,
        bias: nn.Parameter | None,
        gather: Axis | None,
        defer: Defer | None,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.weight, ctx.bias, ctx.gather, ctx.defer = weight, bias, gather, defer
        full = x if gather is None else comm.gather_dim(x, gather, 1)
        return linear(full, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = grads
        x, weight = ctx.saved_tensors
        dx = matmul(dy, weight)
        if ctx.gather is not None:
            x = comm.gather_dim(x, ctx.gather, 1)
            dx = comm.reduce_scatter_dim(dx, ctx.gather, 1)
        if ctx.defer is not None:
            ctx.defer(ctx.weight, ctx.bias, x, dy)
            return dx, None, None, None, None
        dbias = None if ctx.bias is None else dy.flatten(0, -2).sum(0)
        return dx, weight_gradient(x, dy), dbias, None, None


LOSS_ROWS = {"cpu": 128, "cuda": 4096}
"""Tokens whose logits are worked on at once: few enough for a CPU's cache, enough to fill a GPU."""


def vocab_parallel_loss(logits: Tensor, targets: Tensor, axis: Axis, vocab_size: int) -> Tensor:
    """Return the cross-entropy summed over all tokens, from logits that are cut over the tp axis.

    Computed in float32 (float64 stays), a few rows at a time; the gradient is computed on the way
    and takes the place of the probabilities that backward would need.

    Args:
        logits: (B, T, V/tp), this rank's columns; those beyond the vocabulary are left out.
        targets: (B, T) int64, the tokens that did follow.
        axis: the tp axis.
        vocab_size: V without padding.
    """
    return _VocabParallelLoss.apply(  # type: ignore[return-value]
        logits.flatten(0, 1), targets.flatten(), axis, vocab_size
    )


class _VocabParallelLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, axis: Axis, vocab_size: int) -> Tensor:
        columns = padded_vocab_size(vocab_size, axis.size) // axis.size
        first = axis.rank * columns
        real = min(max(vocab_size - first, 0), columns)
        # With more than one part the rows need two small all-reduces: better once for all of them.
        rows = LOSS_ROWS[logits.device.type] if axis.size == 1 else len(logits)
        exact = torch.float64 if logits.dtype is torch.float64 else torch.float32
        total = torch.zeros((), dtype=exact, device=logits.device)
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        for start in range(0, len(logits), rows):
            part = slice(start, start + rows)
            # Where the types agree, the gradient's own memory serves as scratch paper.
            in_place = gradient if logits.dtype is exact else None
            z = torch.empty_like(logits[part], dtype=exact) if in_place is None else in_place[part]
            z.copy_(logits[part])[:, real:] = float("-inf")
            z -= comm.all_reduce(z.amax(-1), axis, maximum=True).unsqueeze(-1)
            column = targets[part] - first
            here = (column >= 0) & (column < real)
            column = column.clamp(0, max(real - 1, 0)).unsqueeze(-1)
            score = torch.where(here, z.gather(-1, column).squeeze(-1), 0.0)
            z.exp_()
            sum_and_score = comm.all_reduce(torch.stack([z.sum(-1), score]), axis)
            total += (sum_and_score[0].log() - sum_and_score[1]).sum()
            if gradient is not None:
                z /= sum_and_score[0].unsqueeze(-1)
                z.scatter_add_(-1, column, -here.to(exact).unsqueeze(-1))
                if in_place is None:
                    gradient[part] = z
        ctx.gradient = gradient
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        gradient, ctx.gradient = ctx.gradient, None
        return gradient.mul_(grads[0]), None, None, None
