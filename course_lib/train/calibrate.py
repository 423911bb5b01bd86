"""Measure this machine and its network: `torchrun -m course_lib.train.calibrate FOLDER`.

Each collective of parallel/comm.py, along each axis of the mesh, from 1 KiB to 64 MiB:

    time = alpha + bytes sent x beta        bytes sent: those that comm.py counts as leaving a rank

All groups of an axis work at once, as in training: ranks that share a cable share its bandwidth.
`send` is a swap between the first and the last rank, as between the stages of a busy pipeline: a
ping-pong would leave each direction idle half the time, and a token bucket (tc tbf) forgives what
comes after a pause. Only broadcasts do not wait for each other: their alpha is the gap between two
in a row, which is less than the time until one has arrived.

On CPUs whole steps and their pieces follow (train/costs.py), then messages between work, and those
between two ranks only, so that runs on fewer ranks can be foretold, too (train/messages.py).
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import torch

from course_lib import runlog
from course_lib.model.product import cpu_multiplies_bf16, matmul
from course_lib.parallel import comm
from course_lib.parallel.join import connected, set_threads
from course_lib.parallel.mesh import Mesh, first_ranks
from course_lib.plan.calibration import Calibration, StepCosts, write_calibration
from course_lib.profile.comm_bench import COPY_BYTES, SIZES_BYTES, measure_copy, measure_gemms
from course_lib.profile.memory import give_back_memory, keep_freed_memory
from course_lib.train.costs import measure_pieces, measure_rehearsals
from course_lib.train.messages import (
    OPERATIONS,
    largest,
    measure_between,
    measure_collective,
    measure_pair,
)

FILE_NAME = "calibration.json"


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
    """Time whole steps and their pieces on CPUs, and the messages that a step sends.

    All ranks call this at the same time; the arguments are those of `measure`.
    """
    # Whole models first: a node of the class cluster has no memory for what pieces leave behind.
    give_back_memory()
    say("steps rehearsed")
    rehearsals = measure_rehearsals(mesh)
    say("pieces of a training step")
    found = measure_pieces(mesh) if mesh.rank == 0 else None
    found = comm.all_gather_object(found, mesh.world)[0]
    assert found is not None
    pieces, overhead = found
    pair, cpu, forgiven, between = (), (), 0.0, ()
    if mesh.world_size > 1:
        say("messages between two ranks")
        whole = replace(mesh, dp=replace(mesh.world, name="dp"))
        two = first_ranks(whole, 2, {})
        measured = None
        if two is not None:
            measured = (
                *measure_pair(two, hosts, sizes_bytes, round_s, say),
                measure_between(two, hosts, sizes_bytes),
            )
        measured = comm.all_gather_object(measured, mesh.world)[0]
        assert measured is not None
        pair, cpu, forgiven, between = measured
        if mesh.world_size > 2:
            between += measure_between(whole, hosts, sizes_bytes)
    return StepCosts(
        pieces=pieces,
        **overhead._asdict(),
        rehearsals=rehearsals,
        between=between,
        pair=pair,
        message_cpu=cpu,
        forgiven_bytes=forgiven,
        widened=not cpu_multiplies_bf16(),
    )


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
