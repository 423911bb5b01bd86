"""Count the bytes of live tensors: what torch.cuda.max_memory_allocated tells, on a CPU too.

The operating system's number of a CPU process is of little use: it includes code and libraries'
buffers, and depends on what malloc keeps for later. So we watch torch instead: every operation
passes through a dispatch mode, which looks at the memory (storage) of what comes out, once however
many views there are of it, and asks to be told when it is given back. `LiveBytes` adds up: lab 06
measures ZeRO with it. memory_timeline.py says whose the bytes are. Not seen: memory that a kernel
takes and gives back inside one operation, and tensors made before the counter was on, unless
`track` tells of them.
"""

import ctypes
import gc
import weakref
from collections.abc import Iterable
from typing import Any, Self
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class StorageWatch(TorchDispatchMode):
    """Tells of the memory (storages) of tensors: what appears, changes its size, and is gone.

    Args:
        device: only tensors on a device of its type count.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__()
        self._device = torch.device(device)
        self._known: dict[int, tuple[weakref.ref[torch.UntypedStorage], int, int]] = {}
        """By the storage's address: how to know that it is gone, its number, and its bytes."""
        self._count = 0

    def _born(self, number: int, tensor: Tensor) -> None:
        """Take note of a storage: the `number`-th one, first seen as that of `tensor`."""

    def _changed(self, number: int, num_bytes: int) -> None:
        """Take note that a storage has so many bytes more than before, less when negative."""

    def track(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors that were made before, from now on."""
        for tensor in tensors:
            if tensor.device.type == self._device.type:
                self._look_at(tensor.untyped_storage(), tensor)

    def __enter__(self) -> Self:
        resize = torch.UntypedStorage.resize_

        def resize_and_look(storage: torch.UntypedStorage, size: int) -> torch.UntypedStorage:
            resize(storage, size)
            if storage._cdata in self._known:
                self._look_at(storage)
            return storage

        # Changing a storage's size is no operation on a tensor, so no dispatch mode sees it.
        self._patch = patch.object(torch.UntypedStorage, "resize_", resize_and_look)
        self._patch.start()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._patch.stop()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        results = func(*args, **(kwargs or {}))
        self.track(x for x in tree_iter(results) if isinstance(x, Tensor))
        return results

    def _look_at(self, storage: torch.UntypedStorage, tensor: Tensor | None = None) -> None:
        address, num_bytes = storage._cdata, storage.nbytes()
        known = self._known.get(address)
        if known is None:
            assert tensor is not None
            number, before = self._count, 0
            self._count += 1
            # The Python object of a storage lives exactly as long as its memory does.
            gone = weakref.ref(storage, lambda _: self._forget(address))
            self._born(number, tensor)
        else:
            gone, number, before = known
        if num_bytes != before or known is None:
            self._known[address] = (gone, number, num_bytes)
            self._changed(number, num_bytes - before)

    def _forget(self, address: int) -> None:
        _, number, num_bytes = self._known.pop(address)
        self._changed(number, -num_bytes)


class LiveBytes(StorageWatch):
    """A context manager: `current` and `peak` bytes of the tensors on one device.

    On a GPU they are those of its allocator, in which every tensor of the process counts.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        self._current = self._peak = 0

    @property
    def current(self) -> int:
        """Bytes alive now."""
        if self._device.type == "cuda":
            return torch.cuda.memory_allocated(self._device)
        return self._current

    @property
    def peak(self) -> int:
        """Most bytes that were alive at once, since the start or the last `reset_peak`."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return self._peak

    def reset_peak(self) -> None:
        """Forget the peak so far: what is alive now is the new one."""
        self._peak = self._current
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def __enter__(self) -> Self:
        if self._device.type == "cuda":  # the allocator counts by itself
            self.reset_peak()
            return self
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        if self._device.type != "cuda":
            super().__exit__(*error)

    def _changed(self, number: int, num_bytes: int) -> None:
        self._current += num_bytes
        self._peak = max(self._peak, self._current)


def keep_freed_memory(*, below_bytes: int = 2**30) -> None:
    """Let this process keep memory that tensors have given back, for the next ones.

    The C library hands blocks above 32 MiB, and the end of the heap, back to the system at once,
    and then every step pays again for each page of them: 4 to 7 % of a CPU step. A no-op where the
    C library is another one than glibc.

    Args:
        below_bytes: new blocks of this size and more come from the system, and go back to it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-3, below_bytes)  # M_MMAP_THRESHOLD
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: the heap's end is kept


def give_back_memory() -> None:
    """Give back to the system what `keep_freed_memory` has kept, and models that nothing uses."""
    gc.collect()  # a model and the hooks on its parameters refer to each other
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
