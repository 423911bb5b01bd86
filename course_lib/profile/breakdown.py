"""Where a step's time went, on one rank: categories that add up to the step.

A CPU rank computes and communicates from one thread, so each moment belongs to the innermost region
(regions.py) that is open. On a GPU the kernels decide: a moment with a compute kernel is compute,
one with only a NCCL kernel is exposed communication, and one with neither is what the CPU was busy
with meanwhile: data, checkpoint, or nothing it has a name for.

    step = compute + optimizer + communication (exposed, by axis) + bubble + data + checkpoint
         + validate + idle

Communication that runs while something is computed costs nothing more: it is told beside the sum,
as overlapped. Lab 05 reads it. Left out on purpose: memory (memory.py).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from course_lib.profile import events, intervals
from course_lib.profile.events import Trace

COMPUTING = ("forward", "backward", "weights", "recompute", "reduce", "norm")
"""Regions whose own time is called compute."""
OWN_CATEGORY = ("optimizer", "data", "checkpoint", "validate")
_REGIONS = {*COMPUTING, *OWN_CATEGORY, "layer", "loss", "comm", "wait"}
STEP = "ProfilerStep#"


class Region(NamedTuple):
    """A named stretch of a step."""

    words: tuple[str, ...]
    start: int
    stop: int
    depth: int
    own_ns: int
    """Without the regions inside it."""
    phase: str
    """The innermost of COMPUTING and OWN_CATEGORY around it, or its own first word."""

    @property
    def ns(self) -> int:
        return self.stop - self.start


class Message(NamedTuple):
    """A message that this rank posted, and when it waited for it."""

    operation: str
    axis: str
    num_bytes: int
    phase: str
    """In which region it was posted."""
    what: tuple[str, ...]
    """PEER:WHAT of each tensor sent, in a pipeline."""
    start: int
    stop: int


class Operator(NamedTuple):
    """All calls of an operator with the same purpose."""

    name: str
    phase: str
    layer: str
    calls: int
    own_ns: int
    """Without the operators that it called; on a GPU the time of the kernels that it launched."""
    total_ns: int
    """With them, on the host; only of calls that no operator made."""


class Gemm(NamedTuple):
    """All matrix products of one shape: (batch, m, k) x (k, n)."""

    operator: str
    layer: str
    phase: str
    batch: int
    m: int
    n: int
    k: int
    dtype: str
    calls: int
    ns: int

    @property
    def flops(self) -> int:
        """FLOPs of one call."""
        return 2 * self.batch * self.m * self.n * self.k

    @property
    def num_bytes(self) -> int:
        """Bytes that one call must at least move."""
        width = {"double": 8, "float": 4}.get(self.dtype, 2)
        return self.batch * (self.m * self.k + self.k * self.n + self.m * self.n) * width


@dataclass(kw_only=True)
class StepTime:
    """One step of one rank, in nanoseconds."""

    number: int
    start: int
    stop: int
    parts: dict[str, int] = field(default_factory=dict)
    """By category; they add up to the step."""
    comm: dict[str, int] = field(default_factory=dict)
    """Exposed, by axis: their sum is parts["comm"]."""
    late: dict[str, int] = field(default_factory=dict)
    """Of that, before the last of the group had come to a message: no network's fault."""
    overlapped: dict[str, int] = field(default_factory=dict)
    """Communication, by axis, while something was computed; in no sum."""
    regions: list[Region] = field(default_factory=list)
    """In order of their start."""
    messages: list[Message] = field(default_factory=list)
    network: np.ndarray = field(default_factory=lambda: intervals.NONE)
    """When messages were under way."""
    operators: int = 0
    """Calls of operators, those made by others not counted."""
    syncs: int = 0
    """How often the host read a number back (.item())."""
    sync_ns: int = 0
    """Such readings, since the first of the operators just before that make what is read."""
    gaps_ns: int = 0
    """Inside compute, time in which no operator ran: Python and torch's own bookkeeping."""

    @property
    def ns(self) -> int:
        return self.stop - self.start


@dataclass(kw_only=True)
class RankProfile:
    """What one rank did in its recorded steps."""

    rank: int
    about: dict[str, Any]
    host: str
    on_gpu: bool
    steps: list[StepTime]
    operators: list[Operator]
    gemms: list[Gemm]
    left_out: dict[str, int]


def break_down(trace: Trace) -> RankProfile:
    """Return what the rank of a trace did, step by step.

    Raises:
        ValueError: the trace has no thread on which training steps ran.
    """
    is_step = np.array([name.startswith(STEP) for name in trace.names], dtype=bool)
    marks = np.nonzero(is_step[trace.name] & (trace.kind == events.ANNOTATION))[0]
    if len(marks):
        main = int(trace.lane[marks[0]])
        marks = marks[trace.lane[marks] == main]
    else:  # a foreign trace: all of it is one step, on the thread with most operators
        ops = trace.lane[trace.kind == events.OP]
        if not len(ops):
            raise ValueError(f"{trace.path} holds no operators: record with ProfilerActivity.CPU")
        main = int(np.bincount(ops).argmax())
    steps = [
        StepTime(
            number=int(trace.names[trace.name[i]].removeprefix(STEP)),
            start=int(trace.start[i]),
            stop=int(trace.stop[i]),
        )
        for i in marks
    ] or [StepTime(number=0, start=int(trace.start.min()), stop=int(trace.stop.max()))]
    sweep = _Sweep(trace, main, steps)
    on_gpu = bool((trace.kind == events.KERNEL).any())
    if on_gpu:
        sweep.time_kernels()
    for step in steps:
        if on_gpu:
            _account_on_gpu(trace, step, sweep)
        else:
            _account_on_cpu(trace, step)
    about = trace.about
    return RankProfile(
        rank=int(about.get("rank", trace.header.get("distributedInfo", {}).get("rank", 0))),
        about=about,
        host=about.get("host", trace.header.get("host_name", "")),
        on_gpu=on_gpu,
        steps=steps,
        operators=sweep.operator_table(),
        gemms=sweep.gemm_table(),
        left_out=trace.left_out,
    )


class _Sweep:
    """One pass over the main thread: who called whom, in which region, for which layer."""

    def __init__(self, trace: Trace, main: int, steps: Sequence[StepTime]) -> None:
        self._trace = trace
        self.context: dict[int, tuple[str, tuple[str, ...]]] = {}
        """By correlation: the phase and, within a message, its region, of what launched a kernel"""
        self._rows: dict[tuple[str, str, str], list[int]] = {}
        self._shapes: dict[tuple[int, int, str, str], list[int]] = {}
        self._launched: dict[int, tuple[list[int], list[int] | None]] = {}
        """By correlation: the counts of the operator that launched a kernel, and of its shape."""
        words = [tuple(name.split("/")) for name in trace.names]
        is_region = np.array([w[0] in _REGIONS for w in words], dtype=bool)
        named = is_region[trace.name] & (trace.kind == events.ANNOTATION)
        wanted = (trace.lane == main) & (
            (trace.kind == events.OP) | (trace.kind == events.LAUNCH) | named
        )
        self._layer_of_sequence: dict[int, str] = {}
        for step in steps:
            inside = wanted & (trace.start >= step.start) & (trace.start < step.stop)
            self._sweep(step, np.nonzero(inside)[0], words)

    def _sweep(self, step: StepTime, numbers: np.ndarray, words: list[tuple[str, ...]]) -> None:
        trace = self._trace
        names = trace.names
        columns = (trace.start, trace.stop, trace.name, trace.kind, trace.sequence, trace.shape)
        starts, stops, name_numbers, kinds, sequences, shapes = (
            c[numbers].tolist() for c in columns
        )
        correlations = trace.correlation[numbers].tolist()
        # Open events, outermost first: stop, own time, row, phase and layer of what is inside, a
        # region's words (None: an operator) and start (an operator's name), its own phase, since
        # when checks have followed each other inside it (0: the last was none), a region's place in
        # the list (an operator's count of its shape).
        stack: list[list[Any]] = []
        layer_of = self._layer_of_sequence
        since_outside = 0

        def close(until: int) -> None:
            while stack and stack[-1][0] <= until:
                stop, own, row, _, _, region, start, phase, _, place = stack.pop()
                if region is None:
                    row[1] += own
                else:
                    step.regions[place] = Region(region, start, stop, len(stack), own, phase)

        for position, start in enumerate(starts):
            close(start)
            stop, kind = stops[position], kinds[position]
            phase, layer, in_op, outer = "", "", False, None
            if stack:
                outer = stack[-1]
                phase, layer, in_op = outer[3], outer[4], outer[5] is None
                stop = min(stop, outer[0])  # rounding may let a child end after its parent
            if kind == events.LAUNCH:
                message = next((e[5] for e in reversed(stack) if e[5] and e[5][0] == "comm"), ())
                self.context[correlations[position]] = (phase, message)
                operators = [entry for entry in reversed(stack) if entry[5] is None]
                if operators:
                    shape = next((e[9] for e in operators if e[9]), None)
                    self._launched[correlations[position]] = (operators[0][2], shape)
                continue
            duration = stop - start
            if kind == events.ANNOTATION:
                region = words[name_numbers[position]]
                head, phase_around = region[0], phase
                if head == "layer":
                    core = len(region) == 2 and region[1] == "core"
                    layer = f"{layer}.core" if core and layer else region[1]
                elif head == "comm":
                    step.messages.append(_message(region, phase, start, stop))
                elif head not in ("wait", "loss"):
                    phase = head
                if stack and stack[-1][5] is None:  # called from within an operator
                    stack[-1][1] -= duration
                    if phase_around in COMPUTING:
                        step.gaps_ns += duration
                for entry in reversed(stack):
                    if entry[5] is not None:  # the region around it
                        entry[1] -= duration
                        break
                inside = head if head in ("comm", "wait") else phase
                place = len(step.regions)
                stack.append(
                    [stop, duration, None, inside, layer, region, start, phase or head, 0, place]
                )
                step.regions.append(None)  # type: ignore[arg-type]
                continue
            name = names[name_numbers[position]]
            sequence = sequences[position]
            if sequence >= 0:
                if phase == "backward":
                    layer = layer_of.get(sequence, layer)
                elif layer:
                    layer_of[sequence] = layer
            row = self._rows.setdefault((name, phase, layer), [0, 0, 0])
            row[0] += 1
            if in_op:
                assert outer is not None
                outer[1] -= duration
            else:
                row[2] += duration
                step.operators += 1
                if phase in COMPUTING:
                    step.gaps_ns -= duration
            # Inside other operators, such as a fused optimizer's, a reading costs nothing.
            alone = not in_op or outer is not None and outer[6].startswith(_AUTOGRAD)
            if alone and (phase in COMPUTING or not phase):
                since = outer[8] if outer is not None else since_outside
                if name in _READINGS:
                    step.syncs += 1
                    step.sync_ns += stop - (since or start)
                    since = 0
                else:
                    since = (since or start) if name in _CHECKS else 0
                if outer is not None:
                    outer[8] = since
                else:
                    since_outside = since
            total = None
            if shapes[position] >= 0:
                key = (name_numbers[position], shapes[position], layer, phase)
                total = self._shapes.setdefault(key, [0, 0])
                total[0] += 1
                total[1] += duration
            stack.append([stop, duration, row, phase, layer, None, name, phase, 0, total])
        close(2**63 - 1)
        for region in step.regions:
            if region.phase in COMPUTING and region.words[0] not in ("comm", "wait"):
                step.gaps_ns += region.own_ns

    def time_kernels(self) -> None:
        """Give operators and shapes the time of their kernels: on a GPU the host's says little."""
        trace = self._trace
        for row in self._rows.values():
            row[1] = 0
        for total in self._shapes.values():
            total[1] = 0
        for i in np.nonzero(trace.kind == events.KERNEL)[0]:
            counts, shape = self._launched.get(int(trace.correlation[i]), (None, None))
            ns = int(trace.stop[i] - trace.start[i])
            if counts is not None:
                counts[1] += ns
            if shape is not None:
                shape[1] += ns

    def operator_table(self) -> list[Operator]:
        rows = [Operator(*key, *values) for key, values in self._rows.items()]
        return sorted(rows, key=lambda row: -row.own_ns)

    def gemm_table(self) -> list[Gemm]:
        found = []
        for (name_number, shape, layer, phase), (calls, ns) in self._shapes.items():
            name = self._trace.names[name_number].removeprefix("aten::")
            dims, types = json.loads(self._trace.shapes[shape])
            sizes = _gemm_sizes(name, dims)
            if sizes is not None:
                dtype = next((t for t in types if t), "float")
                found.append(Gemm(name, layer, phase, *sizes, dtype, calls, max(ns, 1)))
        return sorted(found, key=lambda gemm: -gemm.ns)


_READINGS = ("aten::item", "aten::is_nonzero", "aten::_local_scalar_dense")
_CHECKS = {
    *("aten::isfinite", "aten::isnan", "aten::isinf", "aten::all", "aten::any", "aten::abs"),
    *("aten::sum", "aten::norm", "aten::linalg_vector_norm", "aten::max", "aten::mean"),
}
"""Operators before a reading that make what is read."""
_AUTOGRAD = ("autograd::", "torch::autograd::")


def _message(region: tuple[str, ...], phase: str, start: int, stop: int) -> Message:
    _, operation, axis, num_bytes, *what = region
    return Message(operation, axis, int(num_bytes), phase, tuple(what), start, stop)


def _gemm_sizes(name: str, dims: list[Any]) -> tuple[int, int, int, int] | None:
    """Return (batch, m, n, k) of a product from its input shapes."""
    try:
        a, b = dims[1:3] if name in ("addmm", "baddbmm") else dims[:2]
        if name in ("mm", "addmm"):
            return 1, a[0], b[1], a[1]
        if name in ("bmm", "baddbmm"):
            return a[0], a[1], b[2], a[2]
    except (IndexError, TypeError, ValueError):
        return None
    return None  # fused attention: its work depends on the mask


def _account_on_cpu(trace: Trace, step: StepTime) -> None:
    """Give each moment of a step to the innermost region."""
    parts: dict[str, int] = dict.fromkeys(("compute", "comm", "bubble", *OWN_CATEGORY), 0)
    blocked: dict[str, list[tuple[int, int]]] = {}
    for region in step.regions:
        head = region.words[0]
        if head in ("comm", "wait"):
            axis = region.words[2]
            blocked.setdefault(axis, []).append((region.start, region.stop))
            if head == "wait" and axis == "pp" and region.words[1] == "receive":
                parts["bubble"] += region.own_ns  # until across.py knows when it was sent
            else:
                parts["comm"] += region.own_ns
                step.comm[axis] = step.comm.get(axis, 0) + region.own_ns
        else:
            parts[region.phase if region.phase in OWN_CATEGORY else "compute"] += region.own_ns
    parts["idle"] = step.ns - sum(parts.values())
    step.parts = parts
    gloo = np.array([name.startswith("gloo:") for name in trace.names], dtype=bool)
    here = gloo[trace.name] & (trace.stop > step.start) & (trace.start < step.stop)
    step.network = intervals.union(np.column_stack([trace.start[here], trace.stop[here]]))
    everything = intervals.union([s for stretches in blocked.values() for s in stretches])
    busy = intervals.subtract(step.network, everything)
    for axis, under_way in _under_way(step).items():
        overlapped = intervals.length(intervals.intersect(busy, under_way))
        if overlapped:
            step.overlapped[axis] = overlapped


def _under_way(step: StepTime) -> dict[str, np.ndarray]:
    """Return by axis when this rank had a message posted and not yet waited for."""
    waits: dict[tuple[str, str], list[int]] = {}
    for region in step.regions:
        if region.words[0] == "wait":
            waits.setdefault((region.words[1].split(" ")[0], region.words[2]), []).append(
                region.stop
            )
    found: dict[str, list[tuple[int, int]]] = {}
    for message in step.messages:
        if message.operation == "exchange":
            ends = [
                stop for stop in waits.get(("receive", message.axis), []) if stop > message.stop
            ]
            end = min(ends, default=message.stop)
        else:
            queue = waits.get((message.operation, message.axis), [])
            end = queue.pop(0) if queue else message.stop
        found.setdefault(message.axis, []).append((message.start, end))
    return {axis: intervals.union(stretches) for axis, stretches in found.items()}


def _account_on_gpu(trace: Trace, step: StepTime, sweep: _Sweep) -> None:
    """Give each moment of a step to the kernels that run, or to what the CPU does meanwhile."""
    on_device = (trace.kind == events.KERNEL) | (trace.kind == events.COPY)
    here = np.nonzero(on_device & (trace.start < step.stop) & (trace.stop > step.start))[0]
    compute: list[tuple[int, int]] = []
    optimizer: list[tuple[int, int]] = []
    network: dict[str, list[tuple[int, int]]] = {}
    waiting: list[tuple[int, int]] = []
    for i in here:
        stretch = (max(int(trace.start[i]), step.start), min(int(trace.stop[i]), step.stop))
        phase, message = sweep.context.get(int(trace.correlation[i]), ("", ()))
        name = trace.names[trace.name[i]]
        if "nccl" in name.lower():
            axis = message[2] if message else "?"
            network.setdefault(axis, []).append(stretch)
            if axis == "pp" and ("SendRecv" in name or "Recv" in name):
                waiting.append(stretch)  # NCCL's receive spins until the other side has sent
        elif phase == "optimizer":
            optimizer.append(stretch)
        else:
            compute.append(stretch)
    taken = intervals.union(compute)
    parts = {"compute": intervals.length(taken)}

    def take(name: str, stretches: Sequence[tuple[int, int]] | np.ndarray) -> int:
        """Give a category the moments that are still free."""
        nonlocal taken
        new = intervals.subtract(intervals.union(stretches), taken)
        taken = intervals.union(np.concatenate([taken, new]))
        parts[name] = parts.get(name, 0) + intervals.length(new)
        return intervals.length(new)

    take("optimizer", optimizer)
    working = taken
    for axis, stretches in network.items():
        busy = intervals.union(stretches)
        overlapped = intervals.length(intervals.intersect(busy, working))
        if overlapped:
            step.overlapped[axis] = overlapped
        if axis != "pp":
            step.comm[axis] = take("comm", busy)
    take("bubble", waiting)
    step.comm |= {"pp": take("comm", network["pp"])} if "pp" in network else {}
    step.network = intervals.union([s for stretches in network.values() for s in stretches])
    for name in ("data", "checkpoint", "validate"):
        regions = [(r.start, r.stop) for r in step.regions if r.words[0] == name]
        take(name, regions)
    step.parts = {"comm": 0} | parts
    step.parts["idle"] = step.ns - sum(step.parts.values())
