"""Data parallelism: every rank has the whole model and a part of the batch.

The loss of a batch is a sum over its tokens, so its gradient is the sum of the gradients of the
parts: (...)+dp -> (...). Three ways to get there:

- `sum_gradients`, the naive one that lab 03 starts from: wait for the whole backward pass, copy all
  gradients into one flat tensor, all-reduce it, copy back.
- `Bucketed` (Li et al. 2020, arXiv:2006.15704, section 3.2.3): a few buckets of flat memory, each
  reduced as soon as its last gradient has arrived, while backward is still busy with earlier
  layers. Nothing is sent before the last micro-batch: sums of sums are sums.
- the sharded one of zero.py.

Nothing is divided here: the one division is by the global token count, in train/step.py. Each way
ends with a list of `Shard`s: what this rank's optimizer updates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from course_lib.parallel import comm
from course_lib.parallel.mesh import Axis, Mesh
from course_lib.parallel.slices import Piece, Slice

Reduce = Callable[[nn.Module, Mesh], None]
"""Turns the gradients of a model from (...)+dp to (...), in place, after the last backward."""


@dataclass(kw_only=True)
class Slot:
    """A parameter and its place in a bucket."""

    name: str
    parameter: nn.Parameter
    slice: Slice
    offset: int = 0
    arrived: int = 0
    """Micro-batches whose gradient is in, in this step."""

    @property
    def stop(self) -> int:
        return self.offset + self.parameter.numel()


@dataclass(kw_only=True)
class Shard:
    """Numbers that this rank's optimizer updates: all of a parameter, or a piece of it."""

    piece: Piece
    weight: Tensor
    """(n,) in at least float32: the parameter's own memory, or its master copy."""
    grad: Tensor | None = None
    """(n,) of the whole batch, once the step's gradients are reduced."""
    decay: bool = False
    """Whether weight decay applies: to matrices and tables, not to biases and norms."""
    counted: bool = True
    """Whether this rank, of all that hold these numbers, adds them to the gradient's norm."""


class Gradients:
    """A model's gradients, summed over dp by a function that is called after the last backward."""

    def __init__(self, slots: Sequence[Slot], dtype: torch.dtype) -> None:
        self.slots = {slot.parameter: slot for slot in slots}
        self.shards: list[Shard] = []
        self._masters: list[tuple[Tensor, Tensor]] = []
        """(what computes, its master copy), where the two differ."""
        self._build(list(slots), dtype)

    def _build(self, slots: list[Slot], dtype: torch.dtype) -> None:
        for slot in slots:
            master = slot.parameter.detach().clone()
            slot.parameter.data = master if dtype == master.dtype else master.to(dtype)
            self._add_master(slot.parameter.data, master)
            self.shards.append(_shard(slot, 0, slot.parameter.numel(), master.view(-1)))

    def _add_master(self, computing: Tensor, master: Tensor) -> None:
        if computing.data_ptr() != master.data_ptr():
            self._masters.append((computing, master))

    @property
    def under_way(self) -> list[Tensor]:
        """Memory of gradients that is there for a while only: being collected, sent, received."""
        return []

    def start(self, micro_batches: int) -> None:
        """Forget the last step's gradients; expect those of so many micro-batches."""
        self.expected = micro_batches
        for parameter, slot in self.slots.items():
            parameter.grad = None
            slot.arrived = 0

    def arrived(self, parameter: nn.Parameter) -> None:
        """Take note that a micro-batch's gradient was added to `parameter.grad`."""
        self.slots[parameter].arrived += 1

    def finish(self) -> None:
        """Return when every shard has the gradient of the whole batch."""
        for shard, parameter in zip(self.shards, self.slots, strict=True):
            assert parameter.grad is not None, shard.piece.name
            shard.grad = parameter.grad.view(-1)

    @torch.no_grad()
    def publish(self) -> None:
        """Give what the optimizer has changed to the model, on every rank that computes with it."""
        for computing, master in self._masters:
            computing.copy_(master)


class ReducedBy(Gradients):
    """Gradients that a given function reduces: a learner's, or `sum_gradients`."""

    def __init__(
        self, slots: Sequence[Slot], dtype: torch.dtype, module: nn.Module, mesh: Mesh, by: Reduce
    ) -> None:
        super().__init__(slots, dtype)
        self._module, self._mesh, self._by = module, mesh, by

    def finish(self) -> None:
        self._by(self._module, self._mesh)
        super().finish()


@dataclass
class Bucket:
    """Parameters whose gradients travel together, in flat memory."""

    slots: list[Slot]
    numel: int
    """Numbers in it, rounded up to a multiple of dp."""
    gradients: Tensor | None = None
    """(numel,)"""
    pending: comm.Pending | None = None
    weights: Tensor = field(default_factory=lambda: torch.empty(0))
    """(numel,) what computes; the parameters are views of it."""


class Bucketed(Gradients):
    """Gradients in buckets, each all-reduced as soon as it is full."""

    def __init__(
        self,
        slots: Sequence[Slot],
        dtype: torch.dtype,
        grad_dtype: torch.dtype,
        groups: list[list[Slot]],
        axis: Axis,
    ) -> None:
        self._axis, self._grad_dtype, self._groups = axis, grad_dtype, groups
        self.buckets: list[Bucket] = []
        self._bucket_of: dict[nn.Parameter, Bucket] = {}
        self._launched = 0
        super().__init__(slots, dtype)
        for parameter in self.slots:
            parameter.register_post_accumulate_grad_hook(self.arrived)

    def _build(self, slots: list[Slot], dtype: torch.dtype) -> None:
        for group in self._groups:
            bucket = _lay_out(group, self._axis.size)
            self.buckets.append(bucket)
            self._bucket_of.update({slot.parameter: bucket for slot in group})
            self._build_bucket(bucket, dtype)

    def _build_bucket(self, bucket: Bucket, dtype: torch.dtype) -> None:
        master = flat_weights(bucket)
        bucket.weights = master if dtype == master.dtype else master.to(dtype)
        show_weights(bucket)
        self._add_master(bucket.weights, master)
        bucket.gradients = torch.zeros(bucket.numel, dtype=self._grad_dtype, device=master.device)
        for slot in bucket.slots:
            shard = _shard(slot, 0, slot.parameter.numel(), master[slot.offset : slot.stop])
            shard.grad = bucket.gradients[slot.offset : slot.stop]
            self.shards.append(shard)

    def start(self, micro_batches: int) -> None:
        super().start(micro_batches)
        self._launched = 0

    @torch.no_grad()
    def arrived(self, parameter: nn.Parameter) -> None:
        """Move a gradient into its bucket; send the bucket off when it was the last one."""
        if parameter.grad is None:
            return  # put off: this backward only computes the input's gradient
        slot, bucket = self.slots[parameter], self._bucket_of[parameter]
        self._add(bucket, slot, parameter.grad)
        parameter.grad = None
        slot.arrived += 1
        if all(slot.arrived == self.expected for slot in bucket.slots):
            self._launch()

    def _add(self, bucket: Bucket, slot: Slot, gradient: Tensor) -> None:
        assert bucket.gradients is not None
        place = bucket.gradients[slot.offset : slot.stop].view_as(gradient)
        if slot.arrived:
            place += gradient
        else:  # the first one takes the place of the last step's
            place.copy_(gradient)

    def _launch(self) -> None:
        """Send off full buckets, in the one order that all ranks keep to: messages must match."""
        for bucket in self.buckets[self._launched :]:
            if not all(slot.arrived == self.expected for slot in bucket.slots):
                return
            self._launched += 1
            if self._axis.size > 1:
                bucket.pending = self._reduce(bucket)

    def _reduce(self, bucket: Bucket) -> comm.Pending:
        assert bucket.gradients is not None
        return comm.start_all_reduce(bucket.gradients, self._axis)

    def finish(self) -> None:
        for slot in self.slots.values():
            if slot.arrived != self.expected:
                raise RuntimeError(
                    f"{slot.name} got a gradient from {slot.arrived} of {self.expected} "
                    "micro-batches: is it used in every forward pass, and its backward run?"
                )
        for bucket in self.buckets:
            if bucket.pending is not None:
                bucket.pending.wait()
            bucket.pending = None


def group_slots(slots: Sequence[Slot], bucket_bytes: float, alone: set[str]) -> list[list[Slot]]:
    """Return slots in groups of about `bucket_bytes`, in the order in which gradients arrive.

    Args:
        slots: in the order of the forward pass; backward meets them the other way round.
        bucket_bytes: a parameter that is larger gets a bucket of its own.
        alone: names of parameters that get a bucket of their own in any case.
    """
    groups: list[list[Slot]] = []
    filled = 0.0
    for slot in reversed(slots):
        num_bytes = slot.parameter.numel() * slot.parameter.element_size()
        fits = groups and filled + num_bytes <= bucket_bytes
        if not fits or slot.name in alone or groups[-1][0].name in alone:
            groups.append([])
            filled = 0.0
        groups[-1].append(slot)
        filled += num_bytes
    return groups


@torch.no_grad()
def sum_gradients(model: nn.Module, mesh: Mesh, dtype: torch.dtype | None = None) -> None:
    """Replace every gradient (...)+dp by its sum over the dp axis (...), in place.

    Args:
        model: every rank holds all parameters, each with its gradient filled in.
        mesh: only its dp axis is used.
        dtype: in which the gradients travel; left out, their own.
    """
    if mesh.dp.size == 1:
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients]).to(dtype)
    comm.all_reduce(flat, mesh.dp)
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def flat_weights(bucket: Bucket) -> Tensor:
    """Return (numel,): the bucket's parameters one after the other."""
    first = bucket.slots[0].parameter
    flat = torch.zeros(bucket.numel, dtype=first.dtype, device=first.device)
    for slot in bucket.slots:
        flat[slot.offset : slot.stop].copy_(slot.parameter.detach().flatten())
    return flat


def show_weights(bucket: Bucket) -> None:
    """Make the parameters views of the bucket's memory."""
    for slot in bucket.slots:
        view = bucket.weights[slot.offset : slot.stop]
        slot.parameter.data = view.view(slot.parameter.shape)


def shards_between(bucket: Bucket, start: int, stop: int, master: Tensor) -> list[Shard]:
    """Return the shards of a part of a bucket, numbers start..stop, whose weights are `master`."""
    shards = []
    for slot in bucket.slots:
        low, high = max(slot.offset, start), min(slot.stop, stop)
        if low < high:
            weight = master[low - start : high - start]
            shards.append(_shard(slot, low - slot.offset, high - slot.offset, weight))
    return shards


def _shard(slot: Slot, start: int, stop: int, weight: Tensor) -> Shard:
    piece = Piece(name=slot.name, slice=slot.slice, start=start, stop=stop)
    return Shard(piece=piece, weight=weight, decay=len(slot.slice.shape) >= 2)


def _lay_out(slots: list[Slot], dp: int) -> Bucket:
    offset = 0
    for slot in slots:
        slot.offset = offset
        offset = slot.stop
    return Bucket(slots, numel=-(-offset // dp) * dp)
