"""The table of layouts that are compared with one process: name, ranks, layout, other changes."""

from dataclasses import dataclass, field

from course_lib.config import Layout


@dataclass(frozen=True)
class Case:
    """One row."""

    name: str
    ranks: int
    layout: Layout
    changes: dict = field(default_factory=dict)
    """For `run_config`."""


def _case(name: str, ranks: int, changes: dict | None = None, **layout: object) -> Case:
    return Case(name, ranks, Layout(**layout), changes or {})


UNTIED = {"tied_head": False}
# tp sends small messages in every layer of every micro-batch, and that takes its time.
FEW_MESSAGES = {"num_layers": 2, "micro_batch": 2}
CASES = [
    _case("one rank, accumulation 8", 1),
    _case("one rank, accumulation 1", 1, {"micro_batch": 8}),
    _case("dp2", 2),
    _case("dp2, accumulation 1", 2, {"micro_batch": 4}),
    _case("dp4", 4),
    _case("tp2", 2, FEW_MESSAGES, tp=2),
    _case("tp4", 4, FEW_MESSAGES, tp=4),
    _case("tp2 sp", 2, FEW_MESSAGES, tp=2, sp=True),
    _case("tp4 sp", 4, FEW_MESSAGES, tp=4, sp=True),
    _case("tp2, odd vocabulary", 2, FEW_MESSAGES | {"vocab_size": 61}, tp=2),
    _case("tp4 sp, odd vocabulary", 4, FEW_MESSAGES | {"vocab_size": 61}, tp=4, sp=True),
    _case("tp2 sp, untied", 2, FEW_MESSAGES | UNTIED, tp=2, sp=True),
    _case("tp2, no biases, d_ff 80", 2, FEW_MESSAGES | {"bias": False, "d_ff": 80}, tp=2),
    _case("pp2 gpipe", 2, pp=2, schedule="gpipe"),
    _case("pp2", 2, pp=2),
    _case("pp2, micro-batch 2", 2, {"micro_batch": 2}, pp=2),
    _case("pp2, accumulation 1", 2, {"micro_batch": 8}, pp=2),
    _case("pp2, untied", 2, UNTIED, pp=2),
    _case("pp4 uneven", 4, {"num_layers": 6}, pp=4, stage_layers=(2, 2, 1, 1)),
    _case("pp2 interleaved", 2, pp=2, virtual_stages=2, schedule="interleaved"),
    _case("pp2 zero-bubble", 2, pp=2, schedule="zb_h1"),
    _case("pp4 zero-bubble", 4, pp=4, schedule="zb_h1"),
    _case("dp2 zero1", 2, zero=1),
    _case("dp2 zero2", 2, zero=2),
    _case("dp2 zero3", 2, zero=3),
    _case("dp4 zero1", 4, zero=1),
    _case("dp4 zero2", 4, zero=2),
    _case("dp4 zero3", 4, zero=3),
    _case("dp2 zero3, untied, odd vocabulary", 2, UNTIED | {"vocab_size": 61}, zero=3),
    _case("selective recomputation", 1, recompute="selective"),
    _case("full recomputation", 1, recompute="full"),
    _case("dp2 zero3, full recomputation", 2, zero=3, recompute="full"),
    _case("tp2 sp, full recomputation", 2, FEW_MESSAGES, tp=2, sp=True, recompute="full"),
    _case("pp2 zero-bubble, full recomputation", 2, pp=2, schedule="zb_h1", recompute="full"),
    _case("tp2 x dp2", 4, FEW_MESSAGES, tp=2),
    _case("tp2 sp x dp2 zero1", 4, FEW_MESSAGES, tp=2, sp=True, zero=1),
    _case("tp2 sp x dp2 zero2", 4, FEW_MESSAGES, tp=2, sp=True, zero=2),
    _case("tp2 sp x dp2 zero3", 4, FEW_MESSAGES, tp=2, sp=True, zero=3),
    _case("tp2 x pp2", 4, tp=2, pp=2),
    _case("tp2 sp x pp2 zero-bubble", 4, tp=2, sp=True, pp=2, schedule="zb_h1"),
    _case("pp2 x dp2 zero1", 4, pp=2, zero=1),
    _case("pp2 x dp2 zero2", 4, pp=2, zero=2),
    _case("pp2 x dp2 zero3", 4, pp=2, zero=3),
    _case("pp2 x dp2, zero-bubble, zero1", 4, pp=2, zero=1, schedule="zb_h1"),
    _case("tp2 x pp2 x dp2", 8, tp=2, pp=2),
    _case("tp2 sp x pp2 x dp2", 8, tp=2, sp=True, pp=2),
    _case(
        "tp2 sp x pp2 interleaved x dp2 zero1, selective, odd vocabulary",
        8,
        {"vocab_size": 61},
        tp=2,
        sp=True,
        pp=2,
        virtual_stages=2,
        schedule="interleaved",
        zero=1,
        recompute="selective",
    ),
]


def case(name: str) -> Case:
    """Return the row of a name."""
    return next(case for case in CASES if case.name == name)
