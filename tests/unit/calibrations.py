"""Calibrations that nobody measured: rates are the same for all sizes, so times can be foretold."""

import math

from course_lib.plan.calibration import (
    AlphaBeta,
    Calibration,
    Collective,
    MessageCpu,
    Piece,
    StepCosts,
)

FLOPS_PER_S, NUMBERS_PER_S = 50e9, 1e9
SIZES = ((256, 128, 384), (1024, 384, 1536))
OPERATIONS = ("all_reduce", "reduce_scatter", "all_gather", "send")


def pieces(precision: str = "float32") -> list[Piece]:
    def piece(kind: str, shape: tuple[int, ...], forward_s: float, core: str = "") -> Piece:
        words = {"forward_s": forward_s, "backward_s": 2 * forward_s, "core": core}
        return Piece(kind=kind, precision=precision, shape=shape, **words)

    found = [piece("product", size, 2 * math.prod(size) / FLOPS_PER_S) for size in SIZES]
    shape = (2, 4, 128, 32)
    found.append(piece("attention", shape, math.prod(shape) * 128 / FLOPS_PER_S, "sdpa"))
    for kind in ("gelu", "loss", "entrance", "collect", "update"):
        found += [piece(kind, (n,), n / NUMBERS_PER_S) for n in (2**10, 2**22)]
    return [*found, piece("block", (2, 128, 128, 4, 512), 2.5e-3)]


def collective(
    operation: str, ranks: int, *, alpha_s: float = 1e-4, bytes_per_s: float = 1e9
) -> Collective:
    sizes = (1024, 65536, 2**22)
    return Collective(
        operation=operation,
        axis="dp",
        num_ranks=ranks,
        num_nodes=ranks,
        bytes_sent=sizes,
        time_s=tuple(alpha_s + size / bytes_per_s for size in sizes),
        fit=AlphaBeta(alpha_s=alpha_s, beta_s_per_byte=1 / bytes_per_s, residuals=(0.0,) * 3),
    )


def calibration(
    *, bytes_per_s: float = 1e9, alpha_s: float = 1e-4, forgiven: float = 0.0, **costs
) -> Calibration:
    words = {"bytes_per_s": bytes_per_s, "alpha_s": alpha_s}
    values = {
        "pieces": tuple(pieces() + pieces("bf16")),
        "step_s": 1e-3,
        "micro_batch_s": 2e-4,
        "block_s": 1e-4,
        "recompute_s": 3e-4,
        "computing_slowdown": (1.0, 1.0, 1.5, 2.0),  # two cores
        "memory_slowdown": (1.0, 1.5, 2.2, 3.0),
        "pair": tuple(collective(name, 2, **words) for name in OPERATIONS),
        "message_cpu": tuple(
            MessageCpu(operation=name, s_per_message=5e-5, s_per_byte=2e-10) for name in OPERATIONS
        ),
        "forgiven_bytes": forgiven,
        "widened": False,
    }
    return Calibration(
        machine="An invented processor",
        hosts=("node1", "node2", "node3", "node4"),
        date="2026-11-23T10:00:00+00:00",
        torch_version="2.13.0",
        device="cpu",
        threads_per_rank=1,
        collectives=tuple(collective(name, 4, **words) for name in OPERATIONS),
        gemms=(),
        copy_bytes_per_s=1e10,
        costs=StepCosts(**{**values, **costs}),
    )
