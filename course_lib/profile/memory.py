"""Count the bytes of live tensors: what torch.cuda.max_memory_allocated tells, on a CPU too.

The operating system's number of a CPU process is of little use: it includes code and libraries'
buffers, and depends on what malloc keeps for later. So we watch torch instead: every operation
passes through a dispatch mode, which looks at the memory (storage) of what comes out, once however
many views there are of it, and asks to be told when it is given back. Lab 06 measures ZeRO with it.
Not seen: memory that a kernel takes and gives back inside one operation, and tensors made before
the counter was on, unless `track` tells of them.
"""

import ctypes
import weakref
from collections.abc import Iterable
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class LiveBytes:
    """A context manager: `current` and `peak` bytes of the tensors on one device.

    On a GPU they are those of its allocator, in which every tensor of the process counts.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        self._current = self._peak = 0
        self._seen: dict[int, tuple[weakref.ref[torch.UntypedStorage], int]] = {}
        """By the storage's address: how to know that it is gone, and its bytes."""

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

    def track(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors that were made before, from now on."""
        for tensor in tensors:
            if tensor.device.type == self._device.type:
                self._look_at(tensor.untyped_storage())

    def __enter__(self) -> "LiveBytes":
        if self._device.type == "cuda":
            self.reset_peak()
            return self
        resize = torch.UntypedStorage.resize_

        def resize_and_look(storage: torch.UntypedStorage, size: int) -> torch.UntypedStorage:
            resize(storage, size)
            if storage._cdata in self._seen:
                self._look_at(storage)
            return storage

        # Changing a storage's size is no operation on a tensor, so no dispatch mode sees it.
        self._patch = patch.object(torch.UntypedStorage, "resize_", resize_and_look)
        self._patch.start()
        self._watch = _Watch(self)
        self._watch.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._device.type != "cuda":
            self._watch.__exit__(*error)
            self._patch.stop()

    def _look_at(self, storage: torch.UntypedStorage) -> None:
        address, num_bytes = storage._cdata, storage.nbytes()
        known = self._seen.get(address)
        # The Python object of a storage lives exactly as long as its memory does.
        gone = known[0] if known else weakref.ref(storage, lambda _: self._forget(address))
        self._seen[address] = (gone, num_bytes)
        self._current += num_bytes - (known[1] if known else 0)
        self._peak = max(self._peak, self._current)

    def _forget(self, address: int) -> None:
        self._current -= self._seen.pop(address)[1]


class _Watch(TorchDispatchMode):
    """Shows every operation's results to a counter."""

    def __init__(self, counter: LiveBytes) -> None:
        super().__init__()
        self._counter = counter

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        results = func(*args, **(kwargs or {}))
        self._counter.track(x for x in tree_iter(results) if isinstance(x, Tensor))
        return results


def keep_freed_memory() -> None:
    """Let this process keep memory that tensors have given back, for the next ones.

    The C library hands blocks above 32 MiB, and the end of the heap, back to the system at once,
    and then every step pays again for each page of them: 4 to 7 % of a CPU step. A no-op where the
    C library is another one than glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-3, 2**30)  # M_MMAP_THRESHOLD: below a GiB, blocks come from the heap
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: and its end is kept
