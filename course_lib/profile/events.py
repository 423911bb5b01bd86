"""Read a trace file, however large, into a few columns of numbers.

A trace is a JSON object whose "traceEvents" are a list of millions of small objects: as Python
objects ten times the size of the file. So events are decoded one at a time and only what the
analysis needs is kept, in arrays: about 50 bytes an event. Times are nanoseconds since 1970 on the
recording machine's clock. Read are torch.profiler's files of CPUs and GPUs; a foreign trace of the
same format gives what it has. Left out on purpose: counters, and arrows other than autograd's.
"""

import gzip
import io
import json
import re
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

CHUNK = 2**22
KINDS = {
    "cpu_op": 0,
    "user_annotation": 1,
    "kernel": 2,
    "gpu_memcpy": 3,
    "gpu_memset": 3,
    "cuda_runtime": 4,
    "cuda_driver": 4,
}
OP, ANNOTATION, KERNEL, COPY, LAUNCH = range(5)
SHAPES_OF = re.compile(r"aten::(mm|addmm|bmm|baddbmm|_scaled_dot_product\w*)$")
"""Operators whose input shapes are kept: their FLOPs follow from them."""
_SPACE = re.compile(r"[\s,]*")


class Names:
    """Strings by number: each is kept once."""

    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {}
        self.texts: list[Any] = []

    def number(self, text: Any) -> int:
        found = self.numbers.get(text)
        if found is None:
            found = self.numbers[text] = len(self.texts)
            self.texts.append(text)
        return found


@dataclass
class Trace:
    """The events of one rank, in columns sorted by start and, of those, the longest first."""

    path: Path
    about: dict[str, Any]
    """What the trainer said of the run; empty in a foreign trace."""
    header: dict[str, Any]
    """The file's other entries, such as distributedInfo."""
    names: list[str]
    lanes: list[tuple[Any, Any]]
    """(process, thread or stream)."""
    shapes: list[str]
    """Input dims and types, as JSON."""
    start: np.ndarray
    """(n,) int64, nanoseconds."""
    stop: np.ndarray
    name: np.ndarray
    """(n,) int32, the number of the name; so are lane, kind and shape (-1: none)."""
    lane: np.ndarray
    kind: np.ndarray
    shape: np.ndarray
    sequence: np.ndarray
    """(n,) int64: autograd's number, which a forward operator shares with its backward; -1: none"""
    correlation: np.ndarray
    """(n,) int64: what a kernel shares with the call that launched it; -1: none."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Events that could not be used, by reason."""

    def __len__(self) -> int:
        return len(self.start)


def read_trace(path: Path, progress: Callable[[int], None] = lambda num_bytes: None) -> Trace:
    """Read a trace, .json or .json.gz.

    Args:
        path: the file.
        progress: told now and then how many bytes (uncompressed) have been read.

    Raises:
        ValueError: it is no trace, or damaged; the message says where.
    """
    path = Path(path)
    reader = _Reader(path, progress)
    names, lanes, shapes = Names(), Names(), Names()
    start, stop, sequence, correlation = (array("q") for _ in range(4))
    name, lane, kind, shape = (array("i") for _ in range(4))
    left_out: dict[str, int] = {}
    for event in reader.events():
        if event.get("ph") != "X":
            continue
        number = KINDS.get(event.get("cat", ""))
        if number is None:
            continue
        try:
            # Microseconds with three decimals: as a product they are exact to the nanosecond.
            begin = round(event["ts"] * 1000)
            length = round(event["dur"] * 1000)
            text = event["name"]
        except (KeyError, TypeError):
            left_out["without a time"] = left_out.get("without a time", 0) + 1
            continue
        if length < 0:
            left_out["of negative length"] = left_out.get("of negative length", 0) + 1
            continue
        args = event.get("args") or {}
        start.append(begin)
        stop.append(begin + length)
        name.append(names.number(text))
        lane.append(lanes.number((event.get("pid"), event.get("tid"))))
        kind.append(number)
        sequence.append(args.get("Sequence number", -1))
        correlation.append(args.get("correlation", -1))
        if SHAPES_OF.match(text) and "Input Dims" in args:
            dims_and_types = [args["Input Dims"], args.get("Input type", [])]
            shape.append(shapes.number(json.dumps(dims_and_types)))
        else:
            shape.append(-1)
    if not len(start):
        raise ValueError(
            f"{path} holds no operation with a time: was it written by torch.profiler, and did "
            "training reach the steps to record?"
        )
    header = reader.header
    base = int(header.get("baseTimeNanoseconds", 0))
    columns = [np.frombuffer(c, dtype=np.int64) for c in (start, stop, sequence, correlation)]
    small = [np.frombuffer(c, dtype=np.int32) for c in (name, lane, kind, shape)]
    order = np.lexsort((-columns[1], columns[0]))
    return Trace(
        path=path,
        about=header.pop("workshop", {}),
        header=header,
        names=names.texts,
        lanes=lanes.texts,
        shapes=shapes.texts,
        start=columns[0][order] + base,
        stop=columns[1][order] + base,
        sequence=columns[2][order],
        correlation=columns[3][order],
        name=small[0][order],
        lane=small[1][order],
        kind=small[2][order],
        shape=small[3][order],
        left_out=left_out,
    )


class _Reader:
    """Decodes a trace's events one at a time."""

    def __init__(self, path: Path, progress: Callable[[int], None]) -> None:
        self._path, self._progress = path, progress
        self.header: dict[str, Any] = {}
        self._buffer, self._at, self._read, self._ended = "", 0, 0, False

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield every event; before the first one the header is there."""
        try:
            with _open(self._path) as self._file:
                self._skip_header()
                decode = json.JSONDecoder().raw_decode
                while True:
                    end = _SPACE.match(self._buffer, self._at)
                    assert end is not None
                    self._at = end.end()
                    if self._at == len(self._buffer):
                        if not self._more():
                            raise self._damaged("it ends in the middle of the list of events")
                        continue
                    if self._buffer[self._at] == "]":
                        return
                    try:
                        event, self._at = decode(self._buffer, self._at)
                    except json.JSONDecodeError as error:
                        if not self._more():
                            raise self._damaged(f"an event cannot be read: {error.msg}") from None
                        continue
                    if isinstance(event, dict):
                        yield event
        except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
            raise self._damaged(str(error)) from None
        except FileNotFoundError:
            raise ValueError(f"there is no trace {self._path}") from None

    def _skip_header(self) -> None:
        """Read up to the list of events; what stands before it becomes the header."""
        self._more()
        if self._buffer.lstrip().startswith("["):  # a bare list is a trace, too
            self._at = self._buffer.index("[") + 1
            return
        while True:
            found = re.search(r'"traceEvents"\s*:\s*\[', self._buffer)
            if found:
                break
            if len(self._buffer) > 16 * CHUNK or not self._more():
                raise ValueError(
                    f'{self._path} is no trace: it has no list "traceEvents". Traces are what '
                    "--profile.steps writes to RUN/profile/, or torch.profiler's export"
                )
        head = self._buffer[: found.start()].rstrip().rstrip(",")
        try:
            self.header = json.loads(head + "}")
        except json.JSONDecodeError as error:
            raise self._damaged(f"its first lines are not JSON: {error}") from None
        self._at = found.end()

    def _more(self) -> bool:
        """Read another chunk behind what is left of the last one; False at the end."""
        chunk = self._file.read(CHUNK)
        self._read += len(chunk)
        self._progress(self._read)
        self._buffer = self._buffer[self._at :] + chunk
        self._at = 0
        return bool(chunk)

    def _damaged(self, reason: str) -> ValueError:
        return ValueError(
            f"{self._path} is damaged ({reason}, after {self._read:,} characters): record it again"
        )


def _open(path: Path) -> io.TextIOBase:
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rt") if packed else open(path)  # noqa: SIM115  # pyright: ignore
