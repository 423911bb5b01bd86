"""Names for what a training step does, so that a trace can be read by people and by profile/.

The trainer says `with region("forward", "m3", "c0"):` and the profiler records "forward/m3/c0":

    data                            waiting for the next batch
    forward|backward|weights/mM/cC  an op of the schedule, F, B or W: micro-batch M, chunk C
    layer/NAME                      a layer's forward pass; autograd's numbers lead to its backward
    loss  recompute                 inside forward; a forward pass done again inside backward
    comm/OP/AXIS/BYTES[/PEER:WHAT]  a message is posted; bytes as comm.py counts them
    wait/OP/AXIS[/PEER:WHAT]        nothing to do until that message is there
    reduce  norm  optimizer  validate  checkpoint   the rest of a step

While nothing is recorded a region costs a quarter of a microsecond: torch's own `record_function`
costs seven, profiler or not.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import nn
from torch.autograd import _profiler_enabled  # pyright: ignore[reportPrivateImportUsage]
from torch.autograd.profiler import record_function

T = TypeVar("T")
_NOT_RECORDING = nullcontext()
_heard: list[str] | None = None


def region(*words: object) -> AbstractContextManager[object]:
    """Name what happens inside, if a profiler is recording this thread.

    Args:
        words: the name's parts, joined with "/" only when they are needed.
    """
    if _heard is not None:
        _heard.append("/".join(map(str, words)))
    if not _profiler_enabled():
        return _NOT_RECORDING
    return record_function("/".join(map(str, words)))


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
    """Yield a list that gets each region's name as it begins, in this process.

    For checks of what a function does in which order: a profiler costs a hundred times as much.
    """
    global _heard
    before, _heard = _heard, []
    try:
        yield _heard
    finally:
        _heard = before


def named(function: Callable[..., T], *words: object) -> Callable[..., T]:
    """Return the function with a region around each call."""

    def call(*args: Any) -> T:
        with region(*words):
            return function(*args)

    return call


def name_layers(layers: dict[str, nn.Module]) -> list[torch.utils.hooks.RemovableHandle]:
    """Give each layer's forward pass a region until the returned handles are removed."""
    handles = []
    for name, layer in layers.items():
        entered: list[AbstractContextManager[object]] = []

        def before(
            module: nn.Module, args: object, name: str = name, entered: list = entered
        ) -> None:
            entered.append(region("layer", name))
            entered[-1].__enter__()

        def after(module: nn.Module, args: object, output: object, entered: list = entered) -> None:
            entered.pop().__exit__(None, None, None)

        handles.append(layer.register_forward_pre_hook(before))
        # The same hook is called after an exception, so that no region stays open.
        handles.append(layer.register_forward_hook(after, always_call=True))
    return handles
