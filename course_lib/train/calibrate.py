"""Measure this machine and its network: `torchrun -m course_lib.train.calibrate FOLDER`.

Each collective of parallel/comm.py, along each axis of the mesh, from 1 KiB to 64 MiB:

    time = alpha + bytes sent x beta        bytes sent: those that comm.py counts as leaving a rank

All groups of an axis work at once, as in training: ranks that share a cable share its bandwidth.
`send` is a swap between the first and the last rank, as between the stages of a busy pipeline: a
ping-pong would leave each direction idle half the time, and a token bucket (tc tbf) forgives what
comes after a pause. Only broadcasts do not wait for each other: their alpha is the gap between two
in a row, which is less than the time until one has arrived.

On CPUs the pieces of a training step follow (train/costs.py), with messages between two ranks only,
so that runs on fewer ranks can be foretold, too.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import torch
from torch import Tensor

from course_lib import runlog
from course_lib.model.product import cpu_multiplies_bf16, matmul
from course_lib.parallel import comm
from course_lib.parallel.comm import Receive, Send
from course_lib.parallel.join import connected, set_threads
from course_lib.parallel.mesh import Axis, Mesh, first_ranks
from course_lib.plan.calibration import (
    Calibration,
    Collective,
    MessageCpu,
    StepCosts,
    write_calibration,
)
from course_lib.profile.comm_bench import (
    COPY_BYTES,
    SIZES_BYTES,
    fit_alpha_beta,
    measure_copy,
    measure_gemms,
    time_calls,
)
from course_lib.profile.memory import keep_freed_memory
from course_lib.profile.timing import synchronize
from course_lib.train.costs import measure_pieces, measure_slowdown

PAIR_SIZES_BYTES = (2**10, 2**15, 2**18, 2**21)
"""Messages between two ranks only."""
CPU_SIZES_BYTES = (2**12, 2**20)
"""Messages whose share of the cores is measured."""
CPU_CALLS = 5
PAUSE_S = 0.1
"""After it a shaped link has its bucket full."""
SOONER = 0.85
"""A message that takes less than this share of its usual time after a pause was let through."""
FILE_NAME = "calibration.json"


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


OPERATIONS = (all_reduce, reduce_scatter, all_gather, send, broadcast)
"""What is measured; each is called with the message, as much spare room, and the axis."""


def measure(
    mesh: Mesh,
    *,
    sizes_bytes: tuple[int, ...] = SIZES_BYTES,
    gemm_shapes: list[tuple[int, int, int]] | None = None,
    copy_bytes: int = COPY_BYTES,
    round_s: float = 0.05,
    step_costs: bool = True,
    progress: Callable[[str], object] = print,
) -> Calibration:
    """Measure along every axis with more than one rank, then products, copies, and a step's pieces.

    All ranks call this at the same time. All return the same numbers, each with its own machine.

    Args:
        mesh: where this rank stands.
        sizes_bytes: sizes of the full tensor of a collective.
        gemm_shapes: (m, k, n) of the products; left out, those of `measure_gemms`.
        copy_bytes: size of the tensor that is copied.
        round_s: how long a round of calls lasts at least, in seconds.
        step_costs: whether to time the pieces of a step, too; on CPUs only.
        progress: called with a line of text on rank 0.
    """

    def say(text: str) -> None:
        if mesh.rank == 0:
            progress(text)

    hosts = comm.all_gather_object(runlog.host_name(), mesh.world)
    collectives = tuple(
        measure_collective(operation, axis, mesh, hosts, sizes_bytes, round_s, say)
        for axis in (mesh.dp, mesh.pp, mesh.tp)
        if axis.size > 1
        for operation in OPERATIONS
    )
    say("matrix products and copies")
    together = {
        "barrier": lambda: comm.barrier(mesh.world),
        "largest": lambda values: largest(values, mesh),
        "round_s": round_s,
    }
    return Calibration(
        machine=_machine(mesh.device),
        hosts=tuple(hosts),
        date=datetime.now().astimezone().isoformat(timespec="seconds"),
        torch_version=torch.__version__,
        device=mesh.device.type,
        threads_per_rank=torch.get_num_threads(),
        collectives=collectives,
        gemms=measure_gemms(
            mesh.device, multiply=matmul, shapes=gemm_shapes, progress=say, **together
        ),
        copy_bytes_per_s=measure_copy(mesh.device, num_bytes=copy_bytes, **together),
        costs=(
            measure_step_costs(mesh, hosts, sizes_bytes, round_s, say)
            if step_costs and mesh.device.type == "cpu"
            else None
        ),
    )


def measure_step_costs(
    mesh: Mesh,
    hosts: list[str],
    sizes_bytes: tuple[int, ...],
    round_s: float,
    say: Callable[[str], None],
) -> StepCosts:
    """Time the pieces of a training step on CPUs, and messages between two ranks.

    All ranks call this at the same time; the arguments are those of `measure`.
    """
    say("pieces of a training step")
    found = measure_pieces(mesh) if mesh.rank == 0 else None
    found = comm.all_gather_object(found, mesh.world)[0]
    assert found is not None
    pieces, overhead = found
    computing, memory = measure_slowdown(mesh)
    pair, cpu, forgiven = (), (), 0.0
    if mesh.world_size > 1:
        say("messages between two ranks")
        two = first_ranks(replace(mesh, dp=replace(mesh.world, name="dp")), 2, {})
        measured = None
        if two is not None:
            sizes = tuple(size for size in PAIR_SIZES_BYTES if size <= max(sizes_bytes))
            sizes = sizes if len(sizes) > 1 else sizes_bytes
            measured = _measure_pair(two, hosts, sizes, round_s, say)
        measured = comm.all_gather_object(measured, mesh.world)[0]
        assert measured is not None
        pair, cpu, forgiven = measured
    return StepCosts(
        pieces=pieces,
        **overhead._asdict(),
        computing_slowdown=computing,
        memory_slowdown=memory,
        pair=pair,
        message_cpu=cpu,
        forgiven_bytes=forgiven,
        widened=not cpu_multiplies_bf16(),
    )


def _measure_pair(
    two: Mesh,
    hosts: list[str],
    sizes_bytes: tuple[int, ...],
    round_s: float,
    say: Callable[[str], None],
) -> tuple[tuple[Collective, ...], tuple[MessageCpu, ...], float]:
    """Return the messages of two ranks, what they cost the cores, and what a link forgives."""
    operations = (all_reduce, reduce_scatter, all_gather, send)
    lines = tuple(
        measure_collective(operation, two.dp, two, hosts, sizes_bytes, round_s / 2, say)
        for operation in operations
    )
    cpu = []
    for operation in operations:
        sent, core_s = [], []
        for size_bytes in CPU_SIZES_BYTES:
            full, spare = (torch.zeros(size_bytes // 4) for _ in range(2))
            operation(full, spare, two.dp)
            comm.barrier(two.world)
            before, start_s = two.dp.traffic.num_bytes, time.process_time()
            for _ in range(CPU_CALLS):
                operation(full, spare, two.dp)
            core_s.append((time.process_time() - start_s) / CPU_CALLS)
            sent.append((two.dp.traffic.num_bytes - before) / CPU_CALLS)
        small_s, large_s = largest(core_s, two)
        per_byte = max(0.0, large_s - small_s) / (sent[1] - sent[0])
        per_message = max(0.0, small_s - per_byte * sent[0])
        cpu.append(MessageCpu(operation=operation.__name__, s_per_message=per_message,
                              s_per_byte=per_byte))  # fmt: skip
    size_bytes = CPU_SIZES_BYTES[-1]
    full, spare = (torch.zeros(size_bytes // 4) for _ in range(2))
    times_s = []
    for _ in range(3):
        time.sleep(PAUSE_S)
        comm.barrier(two.world)
        start_s = time.perf_counter()
        send(full, spare, two.dp)
        times_s.append(time.perf_counter() - start_s)
    (after_pause_s,) = largest([statistics.median(times_s)], two)
    fit = lines[-1].fit
    usual_s = fit.time_s(size_bytes)
    forgiven = 0.0
    if after_pause_s < SOONER * usual_s:
        forgiven = min(size_bytes, (usual_s - after_pause_s) * fit.bytes_per_s)
    return lines, tuple(cpu), forgiven


def measure_collective(
    operation: Callable[[Tensor, Tensor, Axis], None],
    axis: Axis,
    mesh: Mesh,
    hosts: list[str],
    sizes_bytes: tuple[int, ...],
    round_s: float,
    say: Callable[[str], None],
) -> Collective:
    """Time one of OPERATIONS along an axis, over several sizes, and fit the line.

    All ranks of the axis call this at the same time; the arguments are those of `measure`.
    """
    calls, bytes_sent = [], []
    for size_bytes in sizes_bytes:
        numel = max(1, size_bytes // 4 // axis.size) * axis.size
        # Zeros, as sums of sums of anything else overflow; written, so that their pages are there.
        full, spare = (torch.empty(numel, device=mesh.device).zero_() for _ in range(2))

        def call(full: Tensor = full, spare: Tensor = spare) -> None:
            operation(full, spare, axis)
            synchronize(mesh.device)

        counted = axis.traffic.num_bytes
        call()
        (sent,) = largest([axis.traffic.num_bytes - counted], mesh)
        calls.append(call)
        bytes_sent.append(int(sent))
    # The largest first, so that small messages do not find a bucket that is full.
    times_s = time_calls(
        calls[::-1],
        barrier=lambda: comm.barrier(mesh.world),
        largest=lambda values: largest(values, mesh),
        round_s=round_s,
    )[::-1]
    fit = fit_alpha_beta(bytes_sent, times_s)
    say(
        f"{operation.__name__} over {axis.name}: {fit.alpha_s * 1e6:.0f} us + bytes / "
        f"{fit.bytes_per_s / 1e6:.1f} MB/s, worst residual {fit.worst_residual:+.0%}"
    )
    return Collective(
        operation=operation.__name__,
        axis=axis.name,
        num_ranks=axis.size,
        num_nodes=len({hosts[rank] for rank in axis.ranks}),
        bytes_sent=tuple(bytes_sent),
        time_s=tuple(times_s),
        fit=fit,
    )


def largest(values: list[float], mesh: Mesh) -> list[float]:
    """Return each number's maximum over all ranks."""
    tensor = torch.tensor(values, dtype=torch.float64, device=mesh.device)
    return comm.all_reduce(tensor, mesh.world, maximum=True).tolist()


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return runlog.processor_name() or "unknown processor"


def main() -> None:
    """Join the other ranks, measure, and leave calibration.json in the run folder."""
    parser = argparse.ArgumentParser(prog="python -m course_lib.train.calibrate")
    parser.add_argument("--max-mib", type=float, default=64, help="largest message, MiB")
    parser.add_argument("run_dir", type=Path, help="run folder; its config.json has the layout")
    args = parser.parse_args()
    run = runlog.read_config(args.run_dir)
    rank = int(os.environ.get("RANK", "0"))
    set_threads()
    keep_freed_memory()
    words = {"device": run.train.device, "backend": run.train.backend}
    try:
        with connected(layout=run.layout, timeout_s=run.train.timeout_s, **words) as mesh:
            calibration = measure(mesh, sizes_bytes=sizes_up_to(args.max_mib))
            if rank == 0:
                write_calibration(args.run_dir / FILE_NAME, calibration)
    except Exception as error:
        runlog.write_failure(args.run_dir, rank, error)
        if isinstance(error, ValueError):
            sys.exit(f"rank {rank}: {error}")
        raise


def sizes_up_to(max_mib: float) -> tuple[int, ...]:
    """Return the sizes to measure up to so many MiB.

    Raises:
        ValueError: these are fewer than the two that a line needs.
    """
    sizes = tuple(size for size in SIZES_BYTES if size <= max_mib * 2**20)
    if len(sizes) < 2:
        raise ValueError(
            f"max_mib is {max_mib:g}, but a line needs two sizes, of which the smallest are "
            f"{SIZES_BYTES[0]} and {SIZES_BYTES[1]} bytes: use {SIZES_BYTES[1] / 2**20:g} or more"
        )
    return sizes


if __name__ == "__main__":
    main()
