"""ZeRO: data-parallel ranks that stop keeping dp copies of the same thing.

    stage 1  each rank has 1/dp of the optimizer's state    reduce-scatter, then all-gather weights
    stage 2  and of the gradients                           reduce-scatter after every micro-batch
    stage 3  and of the weights                             all-gather each layer when it is needed

(Rajbhandari et al. 2020, arXiv:1910.02054, section 5). A reduce-scatter and an all-gather send as
much as one all-reduce, so stage 1 is free; stages 2 and 3 pay with traffic for the memory they
save. All of it works on the flat buckets of data.py: rank r owns the r-th of dp equal parts of
each, wherever a parameter happens to begin or end. Lab 06 builds stage 1. Left out on purpose:
fetching the next layer of stage 3 ahead of time, and offloading.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_lib.parallel import comm
from course_lib.parallel.data import (
    Bucket,
    Bucketed,
    Slot,
    flat_weights,
    shards_between,
    show_weights,
)
from course_lib.parallel.mesh import Axis


class Sharded(Bucketed):
    """Gradients, optimizer state and (stage 3) weights of which this rank keeps 1/dp."""

    def __init__(
        self,
        slots: Sequence[Slot],
        dtype: torch.dtype,
        grad_dtype: torch.dtype,
        groups: list[list[Slot]],
        axis: Axis,
        stage: int,
    ) -> None:
        self._stage = stage
        self._own_gradients: dict[int, Tensor] = {}
        """Stage 2 and 3: by bucket, (numel/dp,) summed over the micro-batches so far."""
        self._in_flight: tuple[Bucket, Tensor, bool] | None = None
        """The bucket under way, where its sum arrives, and whether it is the step's first."""
        self.own_weights: dict[int, Tensor] = {}
        """By bucket, (numel/dp,) what computes."""
        super().__init__(slots, dtype, grad_dtype, groups, axis)

    def _build_bucket(self, bucket: Bucket, dtype: torch.dtype) -> None:
        full = flat_weights(bucket)
        start, stop = self._mine(bucket)
        bucket.weights = full.to(dtype)
        show_weights(bucket)
        own = bucket.weights[start:stop]
        if self._stage == 3:
            own = own.clone()
            release(bucket)
        self.own_weights[id(bucket)] = own
        master = own if dtype == full.dtype else full[start:stop].clone()
        self._add_master(own, master)
        gradient = torch.zeros(stop - start, dtype=self._grad_dtype, device=full.device)
        if self._stage == 1:
            bucket.gradients = gradient.new_zeros(bucket.numel)
            gradient = bucket.gradients[start:stop]
        self._own_gradients[id(bucket)] = gradient
        shards = shards_between(bucket, start, stop, master)
        for shard in shards:
            offset = shard.weight.storage_offset() - master.storage_offset()
            shard.grad = gradient[offset : offset + len(shard.weight)]
        self.shards += shards

    @property
    def under_way(self) -> list[Tensor]:
        if self._stage == 1:
            return []  # they stay
        arriving = [] if self._in_flight is None else [self._in_flight[1]]
        return arriving + [b.gradients for b in self.buckets if b.gradients is not None]

    def _mine(self, bucket: Bucket) -> tuple[int, int]:
        length = bucket.numel // self._axis.size
        return self._axis.rank * length, (self._axis.rank + 1) * length

    def _reduce(self, bucket: Bucket) -> comm.Pending:
        assert bucket.gradients is not None
        own = self._own_gradients[id(bucket)]
        return comm.start_reduce_scatter(bucket.gradients, self._axis, own)

    @torch.no_grad()
    def arrived(self, parameter: nn.Parameter) -> None:
        if self._stage == 1:
            super().arrived(parameter)
            return
        slot, bucket = self.slots[parameter], self._bucket_of[parameter]
        gradient = parameter.grad
        assert gradient is not None
        if bucket.pending is not None:
            self._land()  # the last micro-batch's are still on their way from this memory
        if bucket.gradients is None:
            bucket.gradients = torch.zeros(
                bucket.numel, dtype=self._grad_dtype, device=gradient.device
            )
        place = bucket.gradients[slot.offset : slot.stop]
        place.copy_(gradient.flatten())
        parameter.grad = None
        slot.arrived += 1
        if all(other.arrived == slot.arrived for other in bucket.slots):
            self._send_micro_batch(bucket)

    def _send_micro_batch(self, bucket: Bucket) -> None:
        """Reduce a micro-batch's gradients to their owners and drop them, and stage 3's weights."""
        self._land()
        assert bucket.gradients is not None
        part = torch.empty_like(self._own_gradients[id(bucket)])
        bucket.pending = comm.start_reduce_scatter(bucket.gradients, self._axis, part)
        self._in_flight = (bucket, part, bucket.slots[0].arrived == 1)
        if self._stage == 3:
            release(bucket)

    def _land(self) -> None:
        """Add what the last reduce-scatter brought: no more than two buckets are in memory."""
        if self._in_flight is None:
            return
        bucket, part, first = self._in_flight
        assert bucket.pending is not None
        bucket.pending.wait()
        own = self._own_gradients[id(bucket)]
        if first:
            own.copy_(part)
        else:
            own += part
        bucket.pending, bucket.gradients, self._in_flight = None, None, None

    @torch.no_grad()
    def finish(self) -> None:
        self._land()
        super().finish()

    @torch.no_grad()
    def publish(self) -> None:
        super().publish()
        if self._stage == 3:
            return  # the layers fetch them when they need them
        pending = [
            comm.start_all_gather(self.own_weights[id(bucket)], self._axis, bucket.weights)
            for bucket in self.buckets
        ]
        for each in pending:
            each.wait()

    def gather_when_needed(self, number: int, modules: list[nn.Module], backward: bool) -> None:
        """Stage 3: fetch a bucket before its modules run, and drop it after.

        Args:
            number: of the bucket.
            modules: that use it, in the order of the forward pass.
            backward: whether their backward needs the weights too; that of a table does not.
        """
        bucket = self.buckets[number]
        for module in modules:
            module.register_forward_pre_hook(lambda module, args: self.fetch(bucket))

        def after_forward(module: nn.Module, args: object, output: Tensor) -> None:
            release(bucket)
            if backward and output.requires_grad:
                # Its gradient is the first that backward needs of the layers before it.
                output.register_hook(lambda gradient: self.fetch(bucket))

        modules[-1].register_forward_hook(after_forward)

    @torch.no_grad()
    def fetch(self, bucket: Bucket) -> None:
        """Put the weights of all ranks back into the bucket, if they are not there."""
        storage = bucket.weights.untyped_storage()
        if storage.size() == 0:
            storage.resize_(bucket.numel * bucket.weights.element_size())
            # Through .data: autograd must not see that the memory it remembers was written anew.
            own = self.own_weights[id(bucket)]
            comm.start_all_gather(own, self._axis, bucket.weights.data).wait()


def release(bucket: Bucket) -> None:
    """Give the memory of a bucket's weights back; the parameters keep their shapes."""
    bucket.weights.untyped_storage().resize_(0)
