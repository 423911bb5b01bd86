"""Time messages between ranks: what train/calibrate.py fits its lines to, and a step waits for.

Three ways to ask how long a message takes, for a step meets all three:

    in a row       many of them without a pause: buckets of gradients, one behind the other
    between work   what it adds to work that goes on only when it has arrived: tp, ZeRO 3, sends.
                   Whoever is done first waits for the other, its core sleeps and has to be woken
    on the cores   what it costs them whatever the network does, so that it slows work beside it

Left out on purpose: NCCL, whose messages do not run on the host's cores.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.model.product import matmul
from course_lib.parallel import comm
from course_lib.parallel.comm import Receive, Send
from course_lib.parallel.mesh import Axis, Mesh
from course_lib.plan.calibration import Collective, MessageCpu
from course_lib.profile.comm_bench import fit_alpha_beta, time_calls
from course_lib.profile.timing import synchronize

Operation = Callable[[Tensor, Tensor, Axis], None]
"""Called with the message, as much spare room, and the axis."""
PAIR_SIZES_BYTES = (2**10, 2**15, 2**18, 2**21)
"""Messages between two ranks only."""
BETWEEN_SIZES_BYTES = (2**10, 2**17, 2**20)
"""Messages that work waits for."""
BETWEEN_CALLS, BETWEEN_ROUNDS = 10, 5
WORK_SIDE = 320
"""A product of this side is about a millisecond of work between messages."""
CPU_SIZES_BYTES = (2**12, 2**20)
"""Messages whose share of the cores is measured."""
CPU_CALLS = 5
PAUSE_S = 0.1
"""After it a shaped link has its bucket full."""
SOONER = 0.85
"""A message that takes less than this share of its usual time after a pause was let through."""


def all_reduce(full: Tensor, spare: Tensor, axis: Axis) -> None:
    """Sum the full tensor over the axis."""
    comm.all_reduce(full, axis)


def reduce_scatter(full: Tensor, spare: Tensor, axis: Axis) -> None:
    """Sum the full tensor over the axis and keep a part."""
    comm.start_reduce_scatter(full, axis, spare[: len(spare) // axis.size]).wait()


def all_gather(full: Tensor, spare: Tensor, axis: Axis) -> None:
    """Collect the parts into the full tensor."""
    comm.start_all_gather(spare[: len(spare) // axis.size], axis, full).wait()


def send(full: Tensor, spare: Tensor, axis: Axis) -> None:
    """Send the full tensor from the first rank of the axis to the last, and another one back."""
    last = axis.size - 1
    if axis.rank in (0, last):
        peer = last - axis.rank
        for pending in comm.exchange([Receive(spare, peer), Send(full, peer)], axis):
            pending.wait()


def broadcast(full: Tensor, spare: Tensor, axis: Axis) -> None:
    """Broadcast the full tensor from the first rank of the axis."""
    comm.broadcast(full, axis)


OPERATIONS: tuple[Operation, ...] = (all_reduce, reduce_scatter, all_gather, send, broadcast)
"""What is measured."""
STEP_OPERATIONS = OPERATIONS[:4]
"""What a training step sends."""


def measure_collective(
    operation: Operation,
    axis: Axis,
    mesh: Mesh,
    hosts: list[str],
    sizes_bytes: tuple[int, ...],
    round_s: float,
    say: Callable[[str], None],
) -> Collective:
    """Time an operation in a row of its like, over several sizes, and fit the line.

    All ranks of the axis call this at the same time.

    Args:
        operation: one of OPERATIONS.
        axis: along which to send.
        mesh: all ranks that take part.
        hosts: the node of every rank.
        sizes_bytes: sizes of the full tensor.
        round_s: how long a round of calls lasts at least, in seconds.
        say: called with a line of text.
    """
    made = [_prepare(operation, size_bytes, axis, mesh) for size_bytes in sizes_bytes]
    # The largest first, so that small messages do not find a bucket that is full.
    times_s = time_calls(
        [call for call, _ in made[::-1]],
        barrier=lambda: comm.barrier(mesh.world),
        largest=lambda values: largest(values, mesh),
        round_s=round_s,
    )[::-1]
    found = _collective(operation, axis, hosts, [sent for _, sent in made], times_s)
    say(
        f"{found.operation} over {axis.name}: {found.fit.alpha_s * 1e6:.0f} us + bytes / "
        f"{found.fit.bytes_per_s / 1e6:.1f} MB/s, worst residual {found.fit.worst_residual:+.0%}"
    )
    return found


def measure_between(
    mesh: Mesh, hosts: list[str], sizes_bytes: tuple[int, ...]
) -> tuple[Collective, ...]:
    """Return what messages of each kind add to work that waits for them, over all ranks of dp."""
    sizes_bytes = _some(BETWEEN_SIZES_BYTES, sizes_bytes)
    a, b = (torch.randn(WORK_SIDE, WORK_SIDE) for _ in range(2))

    def seconds(call: Callable[[], object]) -> float:
        comm.barrier(mesh.dp)
        start_s = time.perf_counter()
        for _ in range(BETWEEN_CALLS):
            matmul(a, b)
            call()
        (taken_s,) = largest([time.perf_counter() - start_s], mesh)
        return taken_s / BETWEEN_CALLS

    found = []
    for operation in STEP_OPERATIONS:
        made = [_prepare(operation, size_bytes, mesh.dp, mesh) for size_bytes in sizes_bytes]
        calls: list[Callable[[], object]] = [lambda: None, *(call for call, _ in made)]
        rounds = [[seconds(call) for call in calls] for _ in range(BETWEEN_ROUNDS)]
        alone_s, *with_s = map(statistics.median, zip(*rounds, strict=True))
        times_s = [max(1e-6, each - alone_s) for each in with_s]
        found.append(_collective(operation, mesh.dp, hosts, [sent for _, sent in made], times_s))
    return tuple(found)


def measure_pair(
    two: Mesh,
    hosts: list[str],
    sizes_bytes: tuple[int, ...],
    round_s: float,
    say: Callable[[str], None],
) -> tuple[tuple[Collective, ...], tuple[MessageCpu, ...], float]:
    """Return messages of two ranks in a row, what they cost the cores, and what a link forgives."""
    sizes_bytes = _some(PAIR_SIZES_BYTES, sizes_bytes)
    lines = tuple(
        measure_collective(operation, two.dp, two, hosts, sizes_bytes, round_s / 2, say)
        for operation in STEP_OPERATIONS
    )
    cpu = []
    for operation in STEP_OPERATIONS:
        sent, core_s = [], []
        for size_bytes in CPU_SIZES_BYTES:
            call, num_bytes = _prepare(operation, size_bytes, two.dp, two)
            comm.barrier(two.world)
            start_s = time.process_time()
            for _ in range(CPU_CALLS):
                call()
            core_s.append((time.process_time() - start_s) / CPU_CALLS)
            sent.append(num_bytes)
        small_s, large_s = largest(core_s, two)
        per_byte = max(0.0, large_s - small_s) / (sent[1] - sent[0])
        per_message = max(0.0, small_s - per_byte * sent[0])
        cpu.append(MessageCpu(operation=operation.__name__, s_per_message=per_message,
                              s_per_byte=per_byte))  # fmt: skip
    return lines, tuple(cpu), _forgiven_bytes(two, lines[-1])


def _forgiven_bytes(two: Mesh, usual: Collective) -> float:
    """Return how much a link lets through at once after a pause."""
    call, num_bytes = _prepare(send, CPU_SIZES_BYTES[-1], two.dp, two)
    times_s = []
    for _ in range(3):
        time.sleep(PAUSE_S)
        comm.barrier(two.world)
        start_s = time.perf_counter()
        call()
        times_s.append(time.perf_counter() - start_s)
    (after_pause_s,) = largest([statistics.median(times_s)], two)
    usual_s = usual.fit.time_s(num_bytes)
    if after_pause_s > SOONER * usual_s:
        return 0.0
    return min(num_bytes, (usual_s - after_pause_s) * usual.fit.bytes_per_s)


def _prepare(
    operation: Operation, size_bytes: int, axis: Axis, mesh: Mesh
) -> tuple[Callable[[], None], int]:
    """Return a call that sends one message, after a first one, and the bytes that leave a rank."""
    numel = max(1, size_bytes // 4 // axis.size) * axis.size
    # Zeros, as sums of sums of anything else overflow; written, so that their pages are there.
    full, spare = (torch.empty(numel, device=mesh.device).zero_() for _ in range(2))

    def call() -> None:
        operation(full, spare, axis)
        synchronize(mesh.device)

    counted = axis.traffic.num_bytes
    call()
    (sent,) = largest([axis.traffic.num_bytes - counted], mesh)
    return call, int(sent)


def _collective(
    operation: Operation,
    axis: Axis,
    hosts: list[str],
    bytes_sent: list[int],
    times_s: list[float],
) -> Collective:
    return Collective(
        operation=operation.__name__,
        axis=axis.name,
        num_ranks=axis.size,
        num_nodes=len({hosts[rank] for rank in axis.ranks}),
        bytes_sent=tuple(bytes_sent),
        time_s=tuple(times_s),
        fit=fit_alpha_beta(bytes_sent, times_s),
    )


def _some(sizes_bytes: tuple[int, ...], allowed: tuple[int, ...]) -> tuple[int, ...]:
    """Return sizes up to the largest one that was asked for; a line needs two."""
    found = tuple(size for size in sizes_bytes if size <= max(allowed))
    return found if len(found) > 1 else allowed


def largest(values: list[float], mesh: Mesh) -> list[float]:
    """Return each number's maximum over all ranks."""
    tensor = torch.tensor(values, dtype=torch.float64, device=mesh.device)
    return comm.all_reduce(tensor, mesh.world, maximum=True).tolist()
