"""Measure this machine and its network: `torchrun -m course_lib.train.calibrate FOLDER`.

Each collective of parallel/comm.py, along each axis of the mesh, from 1 KiB to 64 MiB:

    time = alpha + bytes sent x beta        bytes sent: those that comm.py counts as leaving a rank

All groups of an axis work at once, as in training: ranks that share a cable share its bandwidth.
`send` is a swap between the first and the last rank, as between the stages of a busy pipeline: a
ping-pong would leave each direction idle half the time, and a token bucket (tc tbf) forgives what
comes after a pause. Only broadcasts do not wait for each other: their alpha is the gap between two
in a row, which is less than the time until one has arrived.
"""

import argparse
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import torch
from torch import Tensor

from course_lib import runlog
from course_lib.model.product import matmul
from course_lib.parallel import comm
from course_lib.parallel.comm import Receive, Send
from course_lib.parallel.join import connected, set_threads
from course_lib.parallel.mesh import Axis, Mesh
from course_lib.plan.calibration import Calibration, Collective, write_calibration
from course_lib.profile.comm_bench import (
    COPY_BYTES,
    SIZES_BYTES,
    fit_alpha_beta,
    measure_copy,
    measure_gemms,
    time_calls,
)
from course_lib.profile.timing import synchronize

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
    progress: Callable[[str], object] = print,
) -> Calibration:
    """Measure along every axis with more than one rank, then products and copies.

    All ranks call this at the same time. All return the same numbers, each with its own machine.

    Args:
        mesh: where this rank stands.
        sizes_bytes: sizes of the full tensor of a collective.
        gemm_shapes: (m, k, n) of the products; left out, those of `measure_gemms`.
        copy_bytes: size of the tensor that is copied.
        round_s: how long a round of calls lasts at least, in seconds.
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
    )


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
