"""Tokens on disk, and the batches that are read from them.

On disk: Megatron-Core's indexed dataset, so other trainers can read our data and we theirs. The
.bin file is nothing but token ids, one document after the other; the .idx file says where each
document is:

    "MMIDIDX\\0\\0" | version 1: u64 | dtype code: u8 | sequences: u64 | documents + 1: u64
    | length of each sequence: i32 | its byte offset: i64 | first sequence of each document: i64

Batches: the stream of all tokens is cut into windows of T + 1 (the last token of one is the first
of the next: an input there, a target here). An epoch is a shuffle of all windows. Which windows a
step sees follows from the seed and the step alone, so any number of ranks trains on the same data
in the same order, and a run that is resumed goes on where it stopped. Source of the format:
megatron/core/datasets/indexed_dataset.py.
"""

import struct
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
HEADER = struct.Struct("<9sQBQQ")
DTYPE_CODES: dict[int, type[np.generic]] = {
    1: np.uint8,
    2: np.int8,
    3: np.int16,
    4: np.int32,
    5: np.int64,
    6: np.float64,
    7: np.float32,
    8: np.uint16,
}


def write_tokens(prefix: Path, documents: Iterable[list[int]], vocab_size: int) -> int:
    """Write <prefix>.bin and <prefix>.idx and return the number of tokens.

    Not atomic: write into a folder no one reads yet, and rename that (corpus.py does).

    Args:
        prefix: path without the ending.
        documents: token ids, one list per document, the end-of-document token included.
        vocab_size: decides the width: two bytes per token up to 65,536 entries, else four.
    """
    code = 8 if vocab_size <= 2**16 else 4
    dtype = np.dtype(DTYPE_CODES[code])
    lengths = []
    with open(_bin(prefix), "wb") as file:
        for document in documents:
            file.write(np.array(document, dtype=dtype).tobytes())
            lengths.append(len(document))
    counts = np.array(lengths, dtype=np.int32)
    offsets = np.zeros(len(lengths), dtype=np.int64)
    np.cumsum(counts[:-1], out=offsets[1:], dtype=np.int64)
    with open(_idx(prefix), "wb") as file:
        file.write(HEADER.pack(MAGIC, VERSION, code, len(lengths), len(lengths) + 1))
        file.write(counts.tobytes())
        file.write((offsets * dtype.itemsize).tobytes())
        # One sequence per document, so document i begins at sequence i.
        file.write(np.arange(len(lengths) + 1, dtype=np.int64).tobytes())
    return int(counts.sum(dtype=np.int64))


class TokenFile:
    """Tokens that `write_tokens` (or Megatron's preprocessing) wrote, mapped into memory.

    Mapped and not read: a process touches only the pages it needs, and all ranks of a node share
    them.

    Attributes:
        tokens: (N,) all token ids, one document after the other.
        lengths: tokens of each sequence.
        offsets: index in `tokens` at which each sequence begins.

    Raises:
        ValueError: a file is missing, cut off or not of this format; the message names it.
    """

    def __init__(self, prefix: Path) -> None:
        index_path, data_path = _idx(prefix), _bin(prefix)
        for path in (index_path, data_path):
            if not path.is_file():
                raise ValueError(f"{path} does not exist: prepare the data again")
        index = index_path.read_bytes()
        if len(index) < HEADER.size:
            raise _damaged(index_path, f"{len(index)} bytes, but the header has {HEADER.size}")
        magic, version, code, num_sequences, num_documents = HEADER.unpack_from(index)
        if magic != MAGIC or version != VERSION or code not in DTYPE_CODES:
            raise _damaged(index_path, "it does not begin like a Megatron index of version 1")
        expected = HEADER.size + 4 * num_sequences + 8 * num_sequences + 8 * num_documents
        if len(index) < expected:
            raise _damaged(
                index_path,
                f"{num_sequences} sequences and {num_documents - 1} documents need {expected} "
                f"bytes, but it has {len(index)}",
            )
        dtype = np.dtype(DTYPE_CODES[code])
        lengths = np.frombuffer(index, np.int32, num_sequences, HEADER.size)
        offsets = np.frombuffer(index, np.int64, num_sequences, HEADER.size + 4 * num_sequences)
        expected = int(lengths.sum(dtype=np.int64)) * dtype.itemsize
        actual = data_path.stat().st_size
        if actual != expected:
            raise _damaged(data_path, f"the index promises {expected} bytes, but it has {actual}")
        ends = np.cumsum(lengths, dtype=np.int64) * dtype.itemsize
        if np.any(offsets != ends - lengths * dtype.itemsize):
            raise _damaged(index_path, "its sequences do not follow one another in the .bin file")
        self.lengths = lengths
        self.offsets = offsets // dtype.itemsize
        # An empty file cannot be mapped.
        self.tokens = np.memmap(data_path, dtype, "r") if expected else np.empty(0, dtype)


class Windows:
    """The token stream as windows of T + 1 tokens, in an order fixed by the seed.

    Args:
        tokens: (N,) token ids.
        seq_len: T, the tokens that the model sees at once.
        seed: fixes the order.
        name: what to call the tokens in a message.

    Raises:
        ValueError: there are too few tokens for a single window.
    """

    def __init__(self, tokens: np.ndarray, seq_len: int, seed: int, name: str = "data") -> None:
        self.tokens = tokens
        self.seq_len = seq_len
        self.seed = seed
        self.count = (len(tokens) - 1) // seq_len
        if self.count < 1:
            raise ValueError(
                f"the {name} has {len(tokens)} tokens, but one sequence needs seq_len + 1 = "
                f"{seq_len + 1}: use a larger corpus or a smaller seq_len"
            )
        self._epoch = -1

    def of_step(self, step: int, global_batch: int) -> np.ndarray:
        """Return the numbers (global_batch,) of the windows that a step trains on.

        The same for every layout. Sample k of the run is entry k of all epochs' shuffles, one
        after the other; a step takes the next global_batch of them.
        """
        samples = range(step * global_batch, (step + 1) * global_batch)
        return np.array([self._shuffle(s // self.count)[s % self.count] for s in samples])

    def spread(self, count: int) -> np.ndarray:
        """Return the numbers of `count` windows (fewer if there are fewer), evenly apart."""
        return np.linspace(0, self.count - 1, min(count, self.count)).astype(np.int64)

    def read(self, windows: np.ndarray) -> Tensor:
        """Return the tokens (len(windows), T + 1) of some windows, int64 on the CPU."""
        starts = windows * self.seq_len
        rows = [self.tokens[start : start + self.seq_len + 1] for start in starts]
        if not rows:
            return torch.empty(0, self.seq_len + 1, dtype=torch.int64)
        return torch.from_numpy(np.stack(rows).astype(np.int64))

    def _shuffle(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._order = np.random.default_rng([self.seed, epoch]).permutation(self.count)
            self._epoch = epoch
        return self._order


def share(windows: np.ndarray, size: int, rank: int) -> np.ndarray:
    """Return one rank's part of a list of windows: (B,) -> (B/dp,), in order, as equal as can be.

    Args:
        windows: the same list on every rank.
        size: ranks along the dp axis.
        rank: this rank's coordinate on it.
    """
    return np.array_split(windows, size)[rank]


def load_ahead(
    read: Callable[[int], Tensor], steps: range, *, pin: bool
) -> Generator[Tensor, None, None]:
    """Yield the batch of every step; a thread reads the next one while this one is in use.

    Args:
        read: step -> tokens on the CPU.
        steps: which, in order.
        pin: put batches into memory from which a GPU can copy while it computes.
    """

    def load(step: int) -> Tensor:
        tokens = read(step)
        return tokens.pin_memory() if pin else tokens

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader") as thread:
        ahead = [thread.submit(load, step) for step in steps[:1]]
        for step in steps:
            batch = ahead.pop().result()
            if step + 1 in steps:
                ahead.append(thread.submit(load, step + 1))
            yield batch


def _bin(prefix: Path) -> Path:
    return Path(f"{prefix}.bin")


def _idx(prefix: Path) -> Path:
    return Path(f"{prefix}.idx")


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path} is damaged ({reason}): delete its folder and prepare the data again")
