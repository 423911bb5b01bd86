"""Pipeline parallelism: each rank has some of the layers, and micro-batches flow through the ranks.

Which rank does what, and when, is data (schedule.py). Here is the one executor that carries out any
such list, GPipe, 1F1B, interleaved or zero-bubble, a learner's too:

    F  receive x (B, T, D), or read tokens;  y = chunk(x);  send y onwards, or compute the loss
    B  receive dy, or begin at the loss;  backward;  send dx back
    W  the weight gradients that B has left for later (zero-bubble schedules only)

Messages are posted early, in batches whose order is worked out beforehand for all ranks, so that
ranks that talk to each other cannot wait for each other. Lab 08 builds it. Left out on purpose:
giving the memory of sent activations back to the allocator early.
"""

import copy
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from course_lib.config import Layout
from course_lib.layout import stage_layers
from course_lib.model.gpt import GPT, Linear
from course_lib.model.product import weight_gradient
from course_lib.parallel import comm
from course_lib.parallel.mesh import Axis
from course_lib.parallel.tensor import ColumnParallelLinear, linear_by_hand
from course_lib.profile.regions import region
from course_lib.schedule import Op, Schedule, Transfer

_REGION = {"F": "forward", "B": "backward", "W": "weights"}


def cut_stages(model: GPT, layout: Layout, pp_rank: int) -> list[GPT]:
    """Return this rank's chunks of the model, which share its parameters.

    The first stage keeps the token and position tables, the last one the norm and the head.
    """
    chunks = []
    stages = stage_layers(model.config.num_layers, layout)
    for number in range(pp_rank, len(stages), layout.pp):
        chunk = copy.copy(model)
        chunk._modules = dict(model._modules)  # a plain copy would share the dict of its parts
        chunk.blocks = nn.ModuleDict({str(i): model.blocks[str(i)] for i in stages[number]})
        if number > 0:
            chunk.tokens = chunk.positions = None
        if number < len(stages) - 1:
            chunk.norm = chunk.head = None
        chunks.append(chunk)
    return chunks


@dataclass
class WeightGradients:
    """Weight gradients put off from B to W, for schedules that split the backward pass."""

    arrived: Callable[[nn.Parameter], None] = lambda parameter: None
    """Told of every parameter whose gradient was added to, as autograd's hooks would be."""
    _waiting: dict[Op, list[Callable[[], None]]] = field(default_factory=dict)
    _current: list[Callable[[], None]] = field(default_factory=list)

    def begin(self, op: Op) -> None:
        """Collect what backward defers from here on for the W that belongs to this B."""
        self._current = self._waiting[Op("W", op.micro_batch, op.chunk)] = []

    def defer(self, weight: nn.Parameter, bias: nn.Parameter | None, x: Tensor, dy: Tensor) -> None:
        """Remember (..., in) and (..., out) of a linear layer: all that its weights need."""

        def compute() -> None:
            self._add(weight, weight_gradient(x, dy))
            if bias is not None:
                self._add(bias, dy.flatten(0, -2).sum(0))

        self._current.append(compute)

    @torch.no_grad()
    def run(self, op: Op) -> None:
        """Compute the gradients of a W."""
        for compute in self._waiting.pop(op):
            compute()

    def _add(self, parameter: nn.Parameter, gradient: Tensor) -> None:
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        self.arrived(parameter)


def split_backward(chunk: nn.Module) -> WeightGradients:
    """Let every linear layer of a chunk put its weight gradient off, in place."""
    later = WeightGradients()
    for layer in chunk.modules():
        if isinstance(layer, ColumnParallelLinear):
            layer.defer = later.defer
        if isinstance(layer, Linear):
            layer.multiply = lambda x, w, b: linear_by_hand(x, w, b, defer=later.defer)
    return later


def execute(
    ops: Sequence[Op],
    plan: Sequence[Sequence[Transfer]],
    chunks: Sequence[nn.Module],
    axis: Axis,
    micro_batches: Sequence[Tensor],
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    like: Callable[[int], Tensor],
    scale: float = 1.0,
    later: WeightGradients | None = None,
) -> Tensor:
    """Carry out this rank's part of a schedule; return the sum of its losses.

    Args:
        ops: this rank's list of a schedule; without B ops it is a forward pass only.
        plan: this rank's list of what `posts` returns for that schedule.
        chunks: this rank's, in order.
        axis: the pp axis.
        micro_batches: (B, T + 1) tokens each, the same on all ranks of the axis.
        loss: logits and targets (B, T) -> summed loss, called on the last stage.
        like: the number of tokens' sequences B -> an empty tensor of the shape and type that
            travels between stages, (B, T, D) or (B, T/tp, D).
        scale: the gradient that the loss itself gets: 1 / number of tokens.
        later: where deferred weight gradients are kept.

    Returns:
        ()+pp in float64: zero on all ranks but the last stage's.
    """
    backward = any(op.kind == "B" for op in ops)
    inputs: dict[Op, Tensor] = {}
    outputs: dict[Op, Tensor] = {}
    outgoing: dict[tuple[str, int, int], Tensor] = {}
    arriving: dict[Op, tuple[Tensor, comm.Pending]] = {}
    sending: deque[comm.Pending] = deque()
    total = torch.zeros((), dtype=torch.float64, device=micro_batches[0].device)

    def post(transfers: Sequence[Transfer]) -> None:
        messages: list[comm.Send | comm.Receive] = []
        for transfer in transfers:
            key = (transfer.kind, transfer.micro_batch, transfer.chunk)
            label = f"{transfer.kind}{transfer.micro_batch}.{transfer.chunk}"
            if transfer.send:
                messages.append(comm.Send(outgoing.pop(key), transfer.peer, label))
            else:
                buffer = like(len(micro_batches[transfer.micro_batch]))
                messages.append(comm.Receive(buffer, transfer.peer, label))
        pending = comm.exchange(messages, axis) if messages else []
        for transfer, message, handle in zip(transfers, messages, pending, strict=True):
            if transfer.send:
                sending.append(handle)
            else:
                arriving[_consumer(transfer, axis)] = (message.tensor, handle)
        # What was sent long ago has arrived; its memory is free once we have looked.
        while len(sending) > 2 * axis.size:
            sending.popleft().wait()

    def receive(op: Op) -> Tensor:
        tensor, handle = arriving.pop(op)
        handle.wait()
        return tensor

    def carry_out(op: Op) -> None:
        tokens = micro_batches[op.micro_batch]
        first = axis.rank == 0 and op.chunk == 0
        last = axis.rank == axis.size - 1 and op.chunk == len(chunks) - 1
        forward = Op("F", op.micro_batch, op.chunk)
        sent = (op.kind, op.micro_batch, op.chunk)
        if op.kind == "F":
            x = tokens[:, :-1] if first else receive(op).requires_grad_(backward)
            y = chunks[op.chunk](x)
            if last:
                with region("loss"):
                    y = loss(y, tokens[:, 1:])
                    total.add_(y.detach())
            else:
                outgoing[sent] = y.detach().contiguous()
            if backward:
                inputs[forward], outputs[forward] = x, y
        elif op.kind == "B":
            x, y = inputs.pop(forward), outputs.pop(forward)
            dy = torch.full_like(y, scale) if last else receive(op)
            if later is not None:
                later.begin(op)
            torch.autograd.backward(y, dy)
            if not first:
                assert x.grad is not None
                outgoing[sent] = x.grad.contiguous()
        else:
            assert later is not None
            later.run(op)

    post(plan[0])
    for op, transfers in zip(ops, plan[1:], strict=True):
        with region(_REGION[op.kind], f"m{op.micro_batch}", f"c{op.chunk}"):
            carry_out(op)
        post(transfers)
    while sending:
        sending.popleft().wait()
    return total


def forward_only(schedule: Schedule) -> Schedule:
    """Return the schedule without its backward half, for validation."""
    return [[op for op in ops if op.kind == "F"] for ops in schedule]


def _consumer(transfer: Transfer, axis: Axis) -> Op:
    """Return the op of this rank that needs what a transfer brings."""
    stage = transfer.chunk * axis.size + transfer.peer + (1 if transfer.kind == "F" else -1)
    return Op(transfer.kind, transfer.micro_batch, stage // axis.size)
