"""Whose bytes are alive, when: a step's memory by owner, its peak, and what was alive at it.

On the watch of memory.py. Every storage gets an owner (memory_profile.py lists them) from what is
known of it by the end:

- it is told: `label` for weights, state and tokens; `watch_gradients` for parameters' gradients;
- it was made on the way forward: an activation if it outlives its layer's forward pass (made
  outside all layers, or by recomputation: if it is there when backward goes on), else temporary;
- a message arrived in it: a buffer, unless it then goes into a layer;
- it was there before and nobody told: a buffer.

So only a list of events is written on the way, and all sums are done afterwards. On a GPU the total
is the allocator's, and what it has beyond the storages seen here is "other". A recorded step
computes the same numbers, only slower. With torch.compile it runs uncompiled.
"""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_iter

from course_lib.profile.memory import StorageWatch
from course_lib.profile.memory_profile import OUTSIDE, OWNERS, AtPeak, LiveTensor, MemoryProfile

BINS = 120
"""Parts of a step of which the fullest and the emptiest moment are kept."""
LARGEST = 20


@dataclass(slots=True)
class _Storage:
    shape: list[int]
    dtype: str
    op: Any
    region: str
    layer: str | None
    forward: bool
    """Whether it was made on the way forward, also by recomputation."""
    owner: str = "temporary"
    told: bool = False
    received: bool = False
    num_bytes: int = 0


class MemoryTimeline(StorageWatch):
    """A context manager around a step; `label` what is there before it, then ask for `profile`."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        self._storages: list[_Storage] = []
        self._events: list[tuple[float, int, int, int]] = []
        """(time, storage, bytes more, what a GPU's allocator then has given out)."""
        self._start_s = self._end_s = 0.0
        self._early = True
        """Whether what is seen now was there when the step began."""
        self._stack: list[tuple[str, str]] = []
        """The layers, and parts of them, whose forward pass is under way."""
        self._mark = 0
        self._undecided: list[int] = []
        """Made on the way forward: activations, if they live long enough."""
        self._op, self._region, self._layer, self._forward = None, "", None, False
        self._last_left = ""

    def label(self, owner: str, tensors: Iterable[Tensor]) -> None:
        """Say whose the memory of tensors is, from its beginning on; the first label counts.

        Args:
            owner: one of OWNERS.
            tensors: seen before or not; those on other devices are left out.
        """
        assert owner in OWNERS, owner
        for tensor in tensors:
            self.track([tensor])
            storage = self._of(tensor)
            if storage is not None and not storage.told:
                storage.owner, storage.told = owner, True

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._start_s = time.perf_counter()
        self._early = False
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._end_s = time.perf_counter() - self._start_s
        if self._device.type == "cuda":
            self._max_allocated = torch.cuda.max_memory_allocated(self._device)
        self._known.clear()  # nothing that happens later is noted

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        inputs = [x for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)]
        self._begin(func, inputs)
        results = super().__torch_dispatch__(func, types, args, kwargs)
        if func.name() == "c10d::recv_":
            for storage in map(self._of, inputs):
                if storage is not None and not storage.told:
                    storage.owner, storage.received = "buffers", True
        return results

    def _begin(self, func: Any, inputs: list[Tensor]) -> None:
        """Find out where in the step the next operation is."""
        backward = torch._C._current_graph_task_id() != -1
        # Recomputation calls layers inside backward, or at least wants gradients there.
        self._forward = bool(self._stack) or not backward or torch.is_grad_enabled()
        if not self._forward:
            self._decide(0)
        self._early = True
        for tensor in inputs:  # those without dimensions are numbers that came as arguments
            if tensor.dim() and self._mine(tensor) and self._of(tensor) is None:
                self.track([tensor])
                self._storages[-1].owner = "buffers"
        self._early = False
        self._op = func
        if self._stack:
            self._layer, self._region = self._stack[0][0], self._stack[-1][1]
            return
        self._layer = self._youngest_layer(inputs) if backward else None
        self._region = f"after {self._last_left}" if self._last_left else "before all layers"
        if backward:
            self._region = torch._C._current_autograd_node().name().rpartition("::")[2]

    def _youngest_layer(self, inputs: list[Tensor]) -> str | None:
        """Return the layer of what was made last of an operation's inputs on the way forward."""
        known = [self._known.get(x.untyped_storage()._cdata) for x in inputs if self._mine(x)]
        for number in sorted((entry[1] for entry in known if entry), reverse=True):
            if self._storages[number].forward and self._storages[number].layer is not None:
                return self._storages[number].layer
        return None

    def _decide(self, start: int) -> None:
        """Make activations of what is alive of the undecided from `start` on."""
        for number in self._undecided[start:]:
            storage = self._storages[number]
            if storage.num_bytes and storage.owner == "temporary":
                storage.owner = "activations"
        del self._undecided[start:]

    def _enter(self, layer: str, part: str, inputs: tuple[Any, ...]) -> None:
        if not self._stack:
            self._mark = len(self._undecided)
            for storage in (self._of(x) for x in inputs if isinstance(x, Tensor)):
                if storage is not None and storage.received:
                    storage.owner, storage.layer = "activations", layer
        self._stack.append((layer, part))

    def _leave(self) -> None:
        layer, _ = self._stack.pop()
        if not self._stack:
            self._last_left = layer
            if torch._C._current_graph_task_id() == -1:
                self._decide(self._mark)

    def _mine(self, tensor: Tensor) -> bool:
        return tensor.device.type == self._device.type

    def _of(self, tensor: Tensor) -> _Storage | None:
        if not self._mine(tensor):
            return None
        known = self._known.get(tensor.untyped_storage()._cdata)
        return self._storages[known[1]] if known else None

    def _born(self, number: int, tensor: Tensor) -> None:
        num_bytes = tensor.untyped_storage().nbytes()
        whole = num_bytes in (0, tensor.nbytes)  # 0: not fetched yet
        self._storages.append(
            _Storage(
                shape=list(tensor.shape) if whole else [num_bytes // tensor.element_size()],
                dtype=str(tensor.dtype).removeprefix("torch."),
                op=None if self._early else self._op,
                region="before the step" if self._early else self._region,
                layer=None if self._early else self._layer,
                forward=self._forward and not self._early,
            )
        )
        if self._forward and not self._early:
            self._undecided.append(number)

    def _changed(self, number: int, num_bytes: int) -> None:
        self._storages[number].num_bytes += num_bytes
        allocated = 0
        if self._device.type == "cuda":
            # What is being given back still counts there.
            allocated = torch.cuda.memory_allocated(self._device) + min(num_bytes, 0)
        time_s = 0.0 if self._early else time.perf_counter() - self._start_s
        self._events.append((time_s, number, num_bytes, allocated))

    def profile(
        self, *, rank: int = 0, step: int = 0, planned_peak_bytes: int | None = None
    ) -> MemoryProfile:
        """Return what was recorded.

        Args:
            rank: this rank.
            step: its number, from 1 on.
            planned_peak_bytes: what the plan says of this rank.
        """
        # What was there before the step may have been noticed late.
        events = sorted(self._events, key=lambda event: event[0])
        totals, total = [], 0
        for _, _, num_bytes, allocated in events:
            total += num_bytes
            totals.append(max(allocated, total))
        fullest = max(range(len(events)), key=totals.__getitem__, default=-1)
        kept = _kept([event[0] for event in events], totals, fullest, self._end_s)
        seen = {each.owner for each in self._storages}
        if self._device.type == "cuda":
            seen.add("other")
        owners = [owner for owner in OWNERS if owner in seen]
        layers = dict.fromkeys(_layer(s) for s in self._storages if s.owner == "activations")

        alive: dict[int, int] = {}
        now, by_layer = dict.fromkeys(owners, 0), dict.fromkeys(layers, 0)
        times_s: list[float] = []
        curves: dict[str, list[int]] = {owner: [] for owner in owners}
        layer_curves: dict[str, list[int]] = {layer: [] for layer in layers}
        at_peak = AtPeak(time_s=0.0, bytes_by_owner={}, activation_bytes_by_layer={}, largest=[])
        peak_bytes = 0
        for index, (time_s, number, num_bytes, _) in enumerate(events):
            storage = self._storages[number]
            alive[number] = alive.get(number, 0) + num_bytes
            if not alive[number]:
                del alive[number]
            now[storage.owner] += num_bytes
            if storage.owner == "activations":
                by_layer[_layer(storage)] += num_bytes
            if index == fullest:
                peak_bytes = totals[index]
                if self._device.type == "cuda":
                    peak_bytes = max(peak_bytes, self._max_allocated)
                at_peak = AtPeak(
                    time_s=time_s,
                    bytes_by_owner=self._with_other(now, peak_bytes),
                    activation_bytes_by_layer={k: v for k, v in by_layer.items() if v},
                    largest=self._largest(alive),
                )
            if index in kept:
                times_s.append(round(time_s, 7))
                for owner, value in self._with_other(now, totals[index]).items():
                    curves[owner].append(value)
                for layer, value in by_layer.items():
                    layer_curves[layer].append(value)
        times_s.append(round(self._end_s, 7))
        for curve in (*curves.values(), *layer_curves.values()):
            curve.append(curve[-1] if curve else 0)
        return MemoryProfile(
            rank=rank,
            step=step,
            device=str(self._device),
            times_s=times_s,
            bytes_by_owner=curves,
            activation_bytes_by_layer=layer_curves,
            peak_bytes=peak_bytes,
            at_peak=at_peak,
            planned_peak_bytes=planned_peak_bytes,
        )

    def _with_other(self, by_owner: dict[str, int], total: int) -> dict[str, int]:
        if self._device.type != "cuda":
            return dict(by_owner)
        return by_owner | {"other": total - sum(by_owner.values()) + by_owner["other"]}

    def _largest(self, alive: dict[int, int]) -> list[LiveTensor]:
        largest = sorted(alive, key=lambda number: -alive[number])[:LARGEST]
        return [
            LiveTensor(
                bytes=alive[number],
                owner=each.owner,
                layer=each.layer,
                shape=each.shape,
                dtype=each.dtype,
                op=each.op.name().partition(".")[0].replace("::", ".") if each.op else "",
                region=each.region,
            )
            for number, each in ((number, self._storages[number]) for number in largest)
        ]


@contextlib.contextmanager
def watch_layers(timeline: MemoryTimeline, layers: Mapping[str, nn.Module]) -> Iterator[None]:
    """Tell a recorder which layer's forward pass is under way, while inside.

    Args:
        timeline: the recorder.
        layers: by name; none inside another one.
    """
    handles = []
    for layer, whole in layers.items():
        for part, module in whole.named_modules():

            def before(
                module: nn.Module, args: tuple[Any, ...], layer: str = layer, part: str = part
            ) -> None:
                timeline._enter(layer, part, args)

            def after(module: nn.Module, args: object, output: object) -> None:
                timeline._leave()

            handles.append(module.register_forward_pre_hook(before))
            # Recomputation ends with an exception as soon as it has what backward needs.
            handles.append(module.register_forward_hook(after, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def watch_gradients(timeline: MemoryTimeline, parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Label what backward brings to parameters as gradients, while inside."""

    def arrived(gradient: Tensor | None) -> None:
        if gradient is not None:  # a split backward leaves it for later
            timeline.label("gradients", [gradient])

    handles = [parameter.register_hook(arrived) for parameter in parameters]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layer(storage: _Storage) -> str:
    return storage.layer or OUTSIDE


def _kept(times_s: list[float], totals: list[int], fullest: int, end_s: float) -> set[int]:
    """Return the events to keep: if there are many, of each part of the time two and the peak."""
    begin = sum(time_s == 0.0 for time_s in times_s) - 1
    # What was there before the step is one moment.
    during = range(max(begin, 0), len(times_s))
    kept = {fullest, *during[:1], *during[-1:]}
    if len(during) <= 2 * BINS:
        return kept.union(during)
    bins: dict[int, tuple[int, int]] = {}
    for index in during:
        part = int(BINS * times_s[index] / end_s)
        most, least = bins.get(part, (index, index))
        most = index if totals[index] > totals[most] else most
        least = index if totals[index] < totals[least] else least
        bins[part] = most, least
    return kept.union(*bins.values())
