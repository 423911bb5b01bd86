"""Offloading: what leaves the GPU, and what its way over PCIe costs.

The optimizer's state and the float32 weights of a model of 7.5 billion parameters (of the lecture's
table) go to the host's memory; in every step the 16-bit gradient goes there and the new weight
comes back, 4 bytes a parameter, as in Ren et al. 2021 (ZeRO-Offload, arXiv:2101.06840, section 3).
Memory by course_lib.plan.owners, times by course_lib.plan.step_time, on one GPU, everything
recomputed. Left out on purpose: the host's time for AdamW itself, and hiding the transfer behind
the backward pass.
"""

import numpy as np
from matplotlib.figure import Figure

from course_lib.plan.candidates import Request, cases_of
from course_lib.plan.cases import FULL, Array, Cases
from course_lib.plan.hardware import find_hardware
from course_lib.plan.models import planned_run
from course_lib.plan.owners import bytes_by_owner
from course_lib.plan.step_time import step_time
from slides.figures.style import BLUE, GREEN, GREY, INK, ORANGE, log_ticks, name_line, new_figure

ALT = (
    "Left: 7.5 billion parameters need 111 GiB of state, too much for a GPU of 80 GB; offloading "
    "leaves 28 on the GPU and 83 on the host. Right: the share of a step spent on PCIe falls from "
    "over half to 1 % as a step grows from 2 thousand to half a million tokens."
)
SOURCE = "course_lib.plan (memory, step time); the bytes as in Ren et al. 2021 (arXiv:2101.06840)"

GIB = 2**30
MODEL = "gpt_7_5b"
BATCHES = 2 ** np.arange(9)
"""Sequences between two updates, each a micro-batch of its own."""
GPUS = {
    "A100": ("a100-80gb", BLUE, "o", (-12, -10), "right"),
    "H100": ("h100-80gb", ORANGE, "s", (12, 10), "left"),
}


def cases(gpu: str, batches: Array, *, offload: bool) -> Cases:
    """Return the model on one GPU, with and without offloading."""
    run = planned_run(MODEL)
    request = Request(
        model=run.model,
        num_gpus=1,
        hardware=find_hardware(gpu),
        global_batch=int(batches.max()),
        offload=offload,
    )
    one = np.array(1)
    return cases_of(
        request,
        dp=one,
        pp=one,
        tp=one,
        virtual_stages=one,
        micro_batch=one,
        sp=np.array(False),
        zero=np.array(0),
        recompute=np.array(FULL),
    ).replace(global_batch=batches)


def pcie_share(gpu: str) -> Array:
    """Return the share of a step that gradients and weights are on their way, for each batch."""
    hardware = find_hardware(gpu)
    on, off = (step_time(cases(gpu, BATCHES, offload=each), hardware) for each in (True, False))
    return (on.optimizer - off.optimizer) / on.total


def states() -> dict[str, float]:
    """Return GiB of state: on the GPU without offloading, with it, and then on the host."""
    held = [bytes_by_owner(cases("a100-80gb", BATCHES[:1], offload=x)) for x in (False, True)]
    without, with_it = (
        float(np.ravel(each.weights + each.gradients + each.master + each.optimizer)[0]) / GIB
        for each in held
    )
    return {"GPU": without, "GPU ": with_it, "host": without - with_it}


def draw() -> Figure:
    figure = new_figure()
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    places = (0.0, 1.5, 2.5)
    for x, colour, gib in zip(places, (ORANGE, BLUE, GREEN), states().values(), strict=True):
        left.bar(x, gib, color=colour, width=0.8)
        left.text(x, gib + 2, f"{gib:.0f}", ha="center", va="bottom", fontweight="bold")
    capacity = find_hardware("a100-80gb").memory_bytes / GIB
    left.plot([-0.5, 1.95], [capacity] * 2, color=INK, linestyle="--")
    left.text(0.5, capacity + 2, "80 GB", va="bottom")
    left.set_xticks(places, ["GPU", "GPU", "host"])
    left.text(2.0, 126, "offloaded", ha="center")
    left.text(0.0, 126, "as it is", ha="center")
    left.set(xlim=(-0.6, 3.1), ylim=(0, 140))
    left.set_ylabel("state (GiB)")
    left.tick_params(axis="x", length=0)
    left.grid(axis="x", visible=False)

    tokens = BATCHES * planned_run(MODEL).model.seq_len
    for name, (gpu, colour, marker, shift, side) in GPUS.items():
        share = 100 * pcie_share(gpu)
        right.plot(tokens, share, marker=marker, color=colour)
        name_line(right, name, (tokens[1], share[1]), colour, xytext=shift, ha=side)
    right.axhline(10, color=GREY, linestyle="--", linewidth=2)
    right.text(tokens[-1], 11, "a tenth", color=GREY, ha="right")
    log_ticks(right.xaxis, [2048, 8192, 32768, 131072, 524288], ["2k", "8k", "33k", "131k", "524k"])
    right.set_ylim(0, 60)
    right.set_xlabel("tokens of a GPU between two updates")
    right.set_ylabel("step spent on PCIe (%)")
    return figure
