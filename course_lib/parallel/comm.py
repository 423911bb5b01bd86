"""The one door to the network: every message of a training step goes through this file.

So there is one place to count bytes, to bound waits, or to read when you wonder what a layout
sends. Each function takes the axis it works along; along an axis of size 1 nothing is sent or
counted.

Counted are the bytes that leave this rank with an algorithm that wastes none (n ranks, N bytes):

    all-reduce 2 N (n-1)/n    reduce-scatter, all-gather N (n-1)/n    send N    broadcast N

(Chan et al. 2007, "Collective communication: theory, practice, and experience"). gloo's own
reduce-scatter and all-gather take up to twice as long as the plain exchange of pieces between all
pairs, so on gloo they are exactly that.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch
import torch.distributed as dist
from torch import Tensor

from course_lib.parallel.mesh import Axis, Traffic
from course_lib.parallel.missing import explain, timed_out
from course_lib.profile.regions import region

SWAPPED_BYTES = 2**19
"""Up to this size two ranks on gloo swap their tensors: as many bytes, but sooner there."""


class Pending:
    """A message under way."""

    def __init__(
        self,
        works: Sequence[Any],
        axis: Axis,
        operation: str,
        then: Callable[[], object] = lambda: None,
        about: Sequence[str] = (),
    ) -> None:
        self._works, self._axis, self._operation, self._then = works, axis, operation, then
        self._about = about
        self._done = False

    def wait(self) -> None:
        """Wait until the result is there; a second call does nothing."""
        if self._done:
            return
        self._done = True
        with region("wait", self._operation, self._axis.name, *self._about):
            for work in self._works:
                with _limit_named(self._axis, self._operation):
                    work.wait()
        self._then()


class Send(NamedTuple):
    """Send a tensor to the rank at coordinate `peer` of an axis."""

    tensor: Tensor
    peer: int
    label: str = ""
    """What it is, for the trace; the receiver says the same."""


class Receive(NamedTuple):
    """Receive into a tensor from the rank at coordinate `peer` of an axis."""

    tensor: Tensor
    peer: int
    label: str = ""


def all_reduce(tensor: Tensor, axis: Axis, *, maximum: bool = False) -> Tensor:
    """Sum a tensor (or take its maximum) over the axis, in place; return the same tensor."""
    if axis.size > 1:
        if maximum:
            with _posting(axis, "all_reduce", 2 * tensor.nbytes * (axis.size - 1) // axis.size):
                work = dist.all_reduce(tensor, dist.ReduceOp.MAX, group=axis.group, async_op=True)
            Pending([work], axis, "all_reduce (maximum)").wait()
        else:
            start_all_reduce(tensor, axis).wait()
    return tensor


def start_all_reduce(tensor: Tensor, axis: Axis) -> Pending:
    """Begin to sum a contiguous tensor over the axis in place: (...)+axis -> (...)."""
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"all_reduce sums a tensor in place, not a number: torch.tensor({tensor!r})"
        )
    with _posting(axis, "all_reduce", 2 * tensor.nbytes * (axis.size - 1) // axis.size):
        if axis.size > 2 or tensor.nbytes > SWAPPED_BYTES or not _direct(axis):
            work = dist.all_reduce(tensor, group=axis.group, async_op=True)
            return Pending([work], axis, "all_reduce")
        other, peer = torch.empty_like(tensor), 1 - axis.rank
        works = _post([Send(tensor, peer), Receive(other, peer)], axis)
        return Pending(works, axis, "all_reduce", lambda: tensor.add_(other))


def start_reduce_scatter(full: Tensor, axis: Axis, out: Tensor) -> Pending:
    """Begin to sum over the axis and keep one part: (n,)+axis -> (n/axis,), written to `out`.

    `out` may be this rank's part of `full` itself.
    """
    with _posting(axis, "reduce_scatter", full.nbytes * (axis.size - 1) // axis.size):
        if not _direct(axis):
            work = dist.reduce_scatter_single(out, full, group=axis.group, async_op=True)
            return Pending([work], axis, "reduce_scatter")
        parts = list(full.view(axis.size, -1))
        mine, works = _scatter_parts(parts, axis)
        return Pending(works, axis, "reduce_scatter", lambda: _sum_into(out, mine))


def start_all_gather(part: Tensor, axis: Axis, out: Tensor) -> Pending:
    """Begin to collect the parts of all ranks: (n/axis,) -> (n,), written to `out`.

    `part` may be this rank's part of `out` itself.
    """
    with _posting(axis, "all_gather", out.nbytes * (axis.size - 1) // axis.size):
        if not _direct(axis):
            work = dist.all_gather_single(out, part, group=axis.group, async_op=True)
            return Pending([work], axis, "all_gather")
        parts = list(out.view(axis.size, -1))
        if parts[axis.rank].data_ptr() != part.data_ptr():
            parts[axis.rank].copy_(part.view(-1))
        return Pending(_share_parts(parts, axis), axis, "all_gather")


def exchange(messages: Sequence[Send | Receive], axis: Axis) -> list[Pending]:
    """Post sends and receives as one batch and return a handle for each, in their order.

    One batch, because NCCL runs the messages of a pair one after the other unless they are posted
    together, and then two ranks that both send first wait for each other for ever.

    Raises:
        ValueError: a message is for a rank that the axis does not have.
    """
    for message in messages:
        if not 0 <= message.peer < axis.size:  # below 0 would count from the end
            raise ValueError(
                f"{type(message).__name__} names rank {message.peer} of {axis.name}, whose ranks "
                f"are 0 to {axis.size - 1}"
            )
    sends = [message for message in messages if isinstance(message, Send)]
    for message in sends:
        _count(axis, message.tensor.nbytes)
    total = sum(message.tensor.nbytes for message in sends)
    with region("comm", "exchange", axis.name, total, *map(_address, sends)):
        works = _post(messages, axis)
    if len(works) != len(messages):  # NCCL: one handle for the whole batch
        works = [works[0]] * len(messages)
    return [
        Pending(
            [work],
            axis,
            "send" if isinstance(message, Send) else "receive",
            about=[_address(message)],
        )
        for work, message in zip(works, messages, strict=True)
    ]


def broadcast(tensor: Tensor, axis: Axis, source: int = 0) -> Tensor:
    """Overwrite the tensor with that of the rank at coordinate `source`, in place; return it."""
    if axis.size > 1:
        with _posting(axis, "broadcast", tensor.nbytes if axis.rank == source else 0):
            work = dist.broadcast(tensor, group=axis.group, group_src=source, async_op=True)
        Pending([work], axis, "broadcast").wait()
    return tensor


def all_gather_object(value: Any, axis: Axis) -> list[Any]:
    """Return the values of all ranks, in their order; for small things such as host names."""
    if axis.size == 1:
        return [value]
    values: list[Any] = [None] * axis.size
    # Not counted: this is for reports about a run, never part of a training step.
    with _limit_named(axis, "all_gather (object)"):
        dist.all_gather_object(values, value, group=axis.group)
    return values


def barrier(axis: Axis) -> None:
    """Wait until every rank of the axis has come here."""
    if axis.size > 1:
        _count(axis, 0)
        with _limit_named(axis, "barrier"):
            dist.barrier(group=axis.group)


def separate_axis(axis: Axis) -> Axis:
    """Return the same axis over a gloo group of its own, for messages from another thread.

    On one group they would meet the messages of the training step and be taken for them. Every
    rank of the process group has to call this.
    """
    if axis.size == 1:
        return axis
    timeout = axis.progress.timeout
    group = dist.new_group(list(axis.ranks), backend="gloo", timeout=timeout)
    return replace(axis, group=cast(dist.ProcessGroup, group), traffic=Traffic())


def bytes_by_axis(axes: tuple[Axis, ...]) -> dict[str, int]:
    """Return the bytes that this rank has sent so far, by axis name."""
    return {axis.name: axis.traffic.num_bytes for axis in axes}


# The pairs: each is a rule for the forward pass, and autograd applies its mirror image backward.


def copy_to(x: Tensor, axis: Axis) -> Tensor:
    """Forward: pass on (...). Backward: all-reduce (...)+axis -> (...). Megatron's f."""
    return x if axis.size == 1 else _Copy.apply(x, axis)  # type: ignore[return-value]


def reduce_from(x: Tensor, axis: Axis) -> Tensor:
    """Forward: all-reduce (...)+axis -> (...). Backward: pass the gradient on. Megatron's g."""
    return x if axis.size == 1 else _Reduce.apply(x, axis)  # type: ignore[return-value]


def scatter_to(x: Tensor, axis: Axis, dim: int = 1) -> Tensor:
    """Forward: keep this rank's part of `dim`. Backward: all-gather the gradient's parts."""
    return x if axis.size == 1 else _Scatter.apply(x, axis, dim)  # type: ignore[return-value]


def gather_from(x: Tensor, axis: Axis, dim: int = 1) -> Tensor:
    """Forward: all-gather the parts of `dim`. Backward: keep this rank's part of the gradient."""
    return x if axis.size == 1 else _Gather.apply(x, axis, dim)  # type: ignore[return-value]


def reduce_scatter_to(x: Tensor, axis: Axis, dim: int = 1) -> Tensor:
    """Forward: reduce-scatter (B, T, D)+axis -> (B, T/axis, D). Backward: all-gather."""
    return x if axis.size == 1 else _ReduceScatter.apply(x, axis, dim)  # type: ignore[return-value]


def all_gather_from(x: Tensor, axis: Axis, dim: int = 1) -> Tensor:
    """Forward: all-gather (B, T/axis, D) -> (B, T, D). Backward: reduce-scatter."""
    return x if axis.size == 1 else _AllGather.apply(x, axis, dim)  # type: ignore[return-value]


def gather_dim(x: Tensor, axis: Axis, dim: int) -> Tensor:
    """Return the parts of all ranks side by side along `dim`; no gradient."""
    part = x.movedim(dim, 0).contiguous()
    out = part.new_empty(axis.size * part.shape[0], *part.shape[1:])
    start_all_gather(part.view(-1), axis, out.view(-1)).wait()
    return out.movedim(0, dim)


def reduce_scatter_dim(x: Tensor, axis: Axis, dim: int) -> Tensor:
    """Return this rank's part, along `dim`, of the sum over the axis; no gradient."""
    full = x.movedim(dim, 0).contiguous()
    out = full.new_empty(full.shape[0] // axis.size, *full.shape[1:])
    start_reduce_scatter(full.view(-1), axis, out.view(-1)).wait()
    return out.movedim(0, dim)


class _Copy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis) -> Tensor:
        ctx.axis = axis
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # A copy: the gradient may be in use elsewhere, and the sum is done in place.
        return all_reduce(grads[0].clone(memory_format=torch.contiguous_format), ctx.axis), None


class _Reduce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis) -> Tensor:
        return all_reduce(x.clone(memory_format=torch.contiguous_format), axis)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0], None


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis, dim: int) -> Tensor:
        ctx.axis, ctx.dim = axis, dim
        return x.chunk(axis.size, dim)[axis.rank].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return gather_dim(grads[0], ctx.axis, ctx.dim), None, None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis, dim: int) -> Tensor:
        ctx.axis, ctx.dim = axis, dim
        return gather_dim(x, axis, dim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0].chunk(ctx.axis.size, ctx.dim)[ctx.axis.rank].clone(), None, None


class _ReduceScatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis, dim: int) -> Tensor:
        ctx.axis, ctx.dim = axis, dim
        return reduce_scatter_dim(x, axis, dim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return gather_dim(grads[0], ctx.axis, ctx.dim), None, None


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis, dim: int) -> Tensor:
        ctx.axis, ctx.dim = axis, dim
        return gather_dim(x, axis, dim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return reduce_scatter_dim(grads[0], ctx.axis, ctx.dim), None, None


def _address(message: Send | Receive) -> str:
    return f"{message.peer}:{message.label}"


def _direct(axis: Axis) -> bool:
    return dist.get_backend(axis.group) == "gloo"


def _post(messages: Sequence[Send | Receive], axis: Axis) -> list[Any]:
    """Post messages as one batch; return their handles in the same order (NCCL: one for all)."""
    # Receives first: gloo's word that the peer may send would else queue behind our own payload,
    # and large messages would go one way at a time, at half the speed.
    order = sorted(range(len(messages)), key=lambda i: isinstance(messages[i], Send))
    operations = [
        dist.P2POp(
            dist.isend if isinstance(messages[i], Send) else dist.irecv,
            messages[i].tensor,
            group=axis.group,
            group_peer=messages[i].peer,
        )
        for i in order
    ]
    works = dist.batch_isend_irecv(operations)
    if len(works) != len(messages):
        return works
    return [works[order.index(i)] for i in range(len(messages))]


def _scatter_parts(parts: list[Tensor], axis: Axis) -> tuple[list[Tensor], list[Any]]:
    """Send part k to rank k and receive every rank's version of ours, in the order of the ranks."""
    mine, messages = [], []
    for peer in range(axis.size):
        if peer == axis.rank:
            mine.append(parts[peer])
        else:
            mine.append(torch.empty_like(parts[axis.rank]))
            messages += [Send(parts[peer], peer), Receive(mine[peer], peer)]
    return mine, _post(messages, axis)


def _share_parts(parts: list[Tensor], axis: Axis) -> list[Any]:
    """Send our part to every rank and receive theirs, in place."""
    messages: list[Send | Receive] = []
    for peer in range(axis.size):
        if peer != axis.rank:
            messages += [Send(parts[axis.rank], peer), Receive(parts[peer], peer)]
    return _post(messages, axis)


def _sum_into(out: Tensor, parts: list[Tensor]) -> None:
    # In the order of the ranks, so that the rounding does not depend on who sums.
    total = parts[0] + parts[1]
    for part in parts[2:]:
        total += part
    out.copy_(total)


@contextlib.contextmanager
def _limit_named(axis: Axis, operation: str) -> Iterator[None]:
    """Turn the backend's "timed out" into an error that says where and for whom.

    Any other error, such as that the other side has gone, keeps its words and gets a note.
    """
    try:
        yield
    except RuntimeError as error:
        if timed_out(error):
            raise explain(axis, operation, error) from error
        error.add_note(f"{operation} on axis {axis.name}")
        raise


def _posting(axis: Axis, operation: str, num_bytes: int) -> contextlib.AbstractContextManager:
    """Count a message and name it in the trace while it is posted."""
    _count(axis, num_bytes)
    return region("comm", operation, axis.name, num_bytes)


def _count(axis: Axis, num_bytes: int) -> None:
    axis.traffic.num_bytes += num_bytes
    axis.traffic.num_calls += 1
