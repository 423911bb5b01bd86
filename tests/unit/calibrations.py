"""Calibrations that nobody measured: rates are the same for all sizes, so times can be foretold."""

import dataclasses
import math

from course_lib.config import Layout
from course_lib.plan.calibration import (
    AlphaBeta,
    Calibration,
    Collective,
    MessageCpu,
    Piece,
    Rehearsal,
    StepCosts,
)
from course_lib.plan.local_costs import LocalCosts
from course_lib.plan.local_step import step_tape, update_tape
from course_lib.plan.tape import Work
from course_lib.presets import nano

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
    for kind in ("gelu", "loss", "entrance", "collect", "clear", "update"):
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
    *,
    bytes_per_s: float = 1e9,
    alpha_s: float = 1e-4,
    forgiven: float = 0.0,
    cores: int = 2,
    **costs,
) -> Calibration:
    """Return one in which steps take what their pieces sum up to, on so many cores."""
    words = {"bytes_per_s": bytes_per_s, "alpha_s": alpha_s}
    values = {
        "pieces": tuple(pieces() + pieces("bf16")),
        "step_s": 1e-3,
        "micro_batch_s": 2e-4,
        "block_s": 1e-4,
        "recompute_s": 3e-4,
        "rehearsals": (),
        "between": (),
        "pair": tuple(collective(name, 2, **words) for name in OPERATIONS),
        "message_cpu": tuple(
            MessageCpu(operation=name, s_per_message=5e-5, s_per_byte=2e-10) for name in OPERATIONS
        ),
        "forgiven_bytes": forgiven,
        "widened": False,
    }
    made_up = Calibration(
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
    if "rehearsals" in costs:
        return made_up
    found = []
    for precision in ("float32", "bf16"):
        step_s = rehearsed_s(made_up, precision)
        slower = tuple(max(1.0, ranks / cores) for ranks in (1, 2, 4))
        found.append(
            Rehearsal(
                preset="nano",
                precision=precision,
                micro_batch=2,
                micro_batches=2,
                ranks=(1, 2, 4),
                time_s=tuple(step_s * factor for factor in slower),
            )
        )
    assert made_up.costs is not None
    return dataclasses.replace(
        made_up, costs=dataclasses.replace(made_up.costs, rehearsals=tuple(found))
    )


def rehearsed_s(made_up: Calibration, precision: str) -> float:
    """Return what the pieces of a rehearsal sum up to."""
    train = dataclasses.replace(nano().train, global_batch=4, micro_batch=2, precision=precision)
    run, alone = dataclasses.replace(nano(), train=train), Layout(dp=1)
    costs = LocalCosts(made_up)
    items = step_tape(run, alone, costs, 0) + update_tape(run, alone, costs, 0)
    return costs.costs.step_s + sum(item.seconds for item in items if isinstance(item, Work))
