"""What a machine was measured to do: the file that `workshop calibrate` writes. No torch.

A message costs a fixed time and a time per byte, the alpha-beta model (Hockney 1994, "The
communication challenge for MPP"):

    time = alpha + bytes sent x beta        bandwidth = 1 / beta

Bytes are counted as in parallel/comm.py: those that leave one rank with an algorithm that wastes
none. The residuals stand beside each fit, because a planner that trusts the line has to know how
far off it is. Left out on purpose: measuring (profile/comm_bench.py, train/calibrate.py).
"""

import dataclasses
import json
import math
import types
import typing
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from course_lib.runlog import write_json


@dataclass(frozen=True, kw_only=True)
class AlphaBeta:
    """A fitted line: time over bytes sent."""

    alpha_s: float
    """Time of a message without content, in seconds."""
    beta_s_per_byte: float
    """Time that each byte adds, in seconds; 0 where the time did not grow with the size."""
    residuals: tuple[float, ...]
    """For each size, model / measured - 1: above 0 the model is too slow."""

    def time_s(self, bytes_sent: float) -> float:
        """Return what the model says of so many bytes, in seconds."""
        return self.alpha_s + bytes_sent * self.beta_s_per_byte

    @property
    def bytes_per_s(self) -> float:
        """Bandwidth; infinite where the time did not grow with the size."""
        return 1 / self.beta_s_per_byte if self.beta_s_per_byte else math.inf

    @property
    def worst_residual(self) -> float:
        """The residual furthest from 0."""
        return max(self.residuals, key=abs)


@dataclass(frozen=True, kw_only=True)
class Collective:
    """One operation along one axis, over several sizes."""

    operation: str
    """all_reduce, reduce_scatter, all_gather, send or broadcast."""
    axis: str
    """dp, pp or tp."""
    num_ranks: int
    """Ranks along the axis."""
    num_nodes: int
    """Nodes that those ranks are on: 1 is a measurement inside a node."""
    bytes_sent: tuple[int, ...]
    """Bytes that leave a rank per operation, as comm.py counts them."""
    time_s: tuple[float, ...]
    """Time of one operation on the slowest rank, median of several rounds."""
    fit: AlphaBeta
    """The line through these points."""

    def __post_init__(self) -> None:
        counts = len(self.bytes_sent), len(self.time_s), len(self.fit.residuals)
        if min(counts) < 1 or len(set(counts)) > 1:
            raise ValueError(
                f"{self.operation} over {self.axis} has {counts[0]} sizes, {counts[1]} times and "
                f"{counts[2]} residuals: there is one of each for every point"
            )


@dataclass(frozen=True, kw_only=True)
class Gemm:
    """One matrix product: (m, k) times (k, n)."""

    dtype: str
    """float32 or bf16."""
    m: int
    k: int
    n: int
    flops_per_s: float
    """2 m k n / time, of the slowest rank while all ranks multiply."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A piece of a training step, timed on one rank while all others rest."""

    kind: str
    """product, attention, gelu, block, loss, entrance, collect, clear, update (train/costs.py)."""
    precision: str
    """float32 or bf16."""
    shape: tuple[int, ...]
    """Its sizes; which they are depends on the kind."""
    forward_s: float
    """Core seconds of the way there."""
    backward_s: float
    """0 where there is no way back."""
    core: str = ""
    """Of attention: which of model/attention.py was the fastest."""


@dataclass(frozen=True, kw_only=True)
class MessageCpu:
    """What a message costs a rank's cores, whatever the network does: a line over bytes sent."""

    operation: str
    """As in Collective."""
    s_per_message: float
    """Core seconds, however short it is."""
    s_per_byte: float
    """Core seconds that each byte adds."""


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """Whole steps of a preset, by the trainer itself, on ranks that do not talk to each other."""

    preset: str
    """Whose model it is (presets.py)."""
    precision: str
    """float32 or bf16."""
    micro_batch: int
    """Sequences of a micro-batch."""
    micro_batches: int
    """Of a step."""
    ranks: tuple[int, ...]
    """How many took such steps at once, beginning with one."""
    time_s: tuple[float, ...]
    """Seconds of a step, for each of these."""

    def __post_init__(self) -> None:
        if not self.ranks or self.ranks[0] != 1 or len(self.ranks) != len(self.time_s):
            raise ValueError(
                f"a rehearsal on {self.ranks} ranks with {len(self.time_s)} times: it begins with "
                "one rank, and has a time for each"
            )


@dataclass(frozen=True, kw_only=True)
class StepCosts:
    """What plan/local.py foretells a training step on CPUs from (train/costs.py measures it)."""

    pieces: tuple[Piece, ...]
    """Of the trainer's layers, loss and update."""
    step_s: float
    """The trainer itself, once a step: seconds besides the pieces."""
    micro_batch_s: float
    """The same once a micro-batch."""
    block_s: float
    """The same for each block of a micro-batch."""
    recompute_s: float
    """The same for each block that is computed anew."""
    rehearsals: tuple[Rehearsal, ...]
    """What the pieces add up to in a whole step, where caches are colder and cores are shared."""
    pair: tuple[Collective, ...]
    """Messages between the first two ranks while the others rest."""
    between: tuple[Collective, ...]
    """What messages add to work of which each piece waits for them, on two and on all ranks."""
    message_cpu: tuple[MessageCpu, ...]
    """One for each operation."""
    forgiven_bytes: float
    """What a link lets through at once after a pause (the bucket of a token bucket filter)."""
    widened: bool
    """Whether products in bf16 are done in float32 here."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """All that was measured, where and when."""

    machine: str
    """The processor or GPU, by name."""
    hosts: tuple[str, ...]
    """The node of each rank."""
    date: str
    """When, as ISO 8601 with the time zone."""
    torch_version: str
    """As torch names itself."""
    device: str
    """cpu or cuda."""
    threads_per_rank: int
    """CPU threads that a rank computed with."""
    collectives: tuple[Collective, ...]
    """Each operation along each axis with more than one rank."""
    gemms: tuple[Gemm, ...]
    """Products of several shapes, all ranks at once."""
    copy_bytes_per_s: float
    """Bytes read plus bytes written, copying more than a cache holds, all ranks at once."""
    costs: StepCosts | None = None
    """Pieces of a training step on CPUs; None on GPUs, and in files of before they were timed."""

    def describe(self) -> str:
        """Return the table that `workshop calibrate` prints."""
        lines = [
            f"{self.machine}, {len(self.hosts)} ranks on {len(set(self.hosts))} node(s), "
            f"{self.threads_per_rank} thread(s) each, {self.date}, torch {self.torch_version}",
            "",
        ]
        if self.collectives:
            lines.append(
                f"{'operation':15}{'axis':5}{'ranks':>5}{'nodes':>6}{'alpha':>12}{'bandwidth':>14}"
                f"{'worst residual':>16}"
            )
        for each in self.collectives:
            lines.append(
                f"{each.operation:15}{each.axis:5}{each.num_ranks:5}{each.num_nodes:6}"
                f"{each.fit.alpha_s * 1e6:9.0f} us{each.fit.bytes_per_s / 1e6:9.1f} MB/s"
                f"{each.fit.worst_residual:+15.0%}"
            )
        lines += ["", f"{'product':9}{'(m, k) x (k, n)':>24}{'GFLOP/s':>10}"]
        for gemm in self.gemms:
            shape = f"({gemm.m}, {gemm.k}) x ({gemm.k}, {gemm.n})"
            lines.append(f"{gemm.dtype:9}{shape:>24}{gemm.flops_per_s / 1e9:10.1f}")
        lines += ["", f"copy {self.copy_bytes_per_s / 1e9:.2f} GB/s"]
        if self.costs is not None:
            lines.append(f"{len(self.costs.pieces)} pieces of a training step; whole steps:")
            for each in self.costs.rehearsals:
                times = ", ".join(f"{seconds * 1e3:.0f} ms" for seconds in each.time_s)
                ranks = ", ".join(map(str, each.ranks))
                lines.append(f"{each.preset} {each.precision}: {times} while {ranks} ranks compute")
        return "\n".join(lines)


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write the file as a whole: a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, dataclasses.asdict(calibration))


def read_calibration(path: Path) -> Calibration:
    """Read the file that `write_calibration` wrote.

    Raises:
        ValueError: there is none, it is cut off, or it holds something else; the message says what.
    """
    if not path.is_file():
        raise ValueError(f"no calibration at {path}: measure one with `workshop calibrate`")
    try:
        return _decode(Calibration, json.loads(path.read_text(encoding="utf-8")), "calibration")
    except ValueError as error:  # also what JSON and UTF-8 say of a damaged file
        raise ValueError(
            f"{path} is not a whole calibration ({error}): measure again with `workshop calibrate`"
        ) from error


def _decode(hint: Any, value: Any, where: str) -> Any:
    """Return parsed JSON as the type that `hint` names; `where` is for messages."""
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        if not isinstance(value, dict):
            raise ValueError(f"{where} should be a JSON object")
        # A field that came later has a default: files of before are still read.
        optional = {f.name for f in dataclasses.fields(hint) if f.default is not MISSING}
        if wrong := sorted((hints.keys() ^ value.keys()) - (optional - value.keys())):
            raise ValueError(f"{where} lacks these keys, or has them too much: {', '.join(wrong)}")
        build = typing.cast(Any, hint)
        return build(**{key: _decode(hints[key], value[key], f"{where}.{key}") for key in value})
    if isinstance(hint, types.UnionType):
        (hint,) = (each for each in typing.get_args(hint) if each is not types.NoneType)
        return None if value is None else _decode(hint, value, where)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} should be a JSON list")
        entry_hint = typing.get_args(hint)[0]
        return tuple(_decode(entry_hint, entry, f"{where}[{i}]") for i, entry in enumerate(value))
    # JSON writes 1.0 as 1 at times; and Python's reader lets NaN and Infinity through.
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        raise ValueError(f"{where} is {value!r}, which is not a {hint.__name__}")
    return value
