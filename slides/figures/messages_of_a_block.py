"""The block of transformer_block, and the messages that cut it over 1024 GPUs.

GPT-3 (175 billion parameters) as tp 8 with sequence parallelism, pp 8, dp 16, micro-batches of one
sequence, 16-bit weights, activations and gradients. At the arrows: the bytes of a message, of which
a GPU sends (n - 1) / n; below matrices: this GPU's gradients of them. Backward has the same
messages the other way round. The totals are course_lib.plan.traffic's, for a GPU in the middle of
the pipeline. Korthikanti et al. 2022 (arXiv:2205.05198, section 4.2) has the place of gather and
scatter, Narayanan et al. 2021 (arXiv:2104.04473, section 4.1) that each tp rank sends its part on.
"""

import dataclasses

from matplotlib.figure import Figure

from course_lib.config import RunConfig
from course_lib.layout import micro_batches
from course_lib.plan.models import gpt_175b
from course_lib.plan.traffic import bytes_per_step
from slides.figures.style import BLUE, GREEN, ORANGE
from slides.figures.transformer_block import (
    CORE_X,
    FIRST_X,
    JOIN,
    LAST_X,
    LEFT,
    NORM_X,
    PARTS_Y,
    RIGHT,
    STREAM_Y,
    draw_block,
)
from slides.shapes import new_sheet, write

ALT = (
    "The block of GPT-3 cut over 1024 GPUs: tp gathers 50 MB before and scatters 50 MB behind each "
    "pair of matrices, pp hands 6 MB from stage to stage, dp sums 38 to 151 MB of gradients a "
    "matrix. A GPU sends 507 GB a step for tp, 10 for dp, 1 for pp."
)
SOURCE = "course_lib.plan.traffic; Korthikanti et al. 2022 (arXiv:2205.05198), section 4.2"

WEIGHT_BYTES = 2
COLOURS = {"tp": BLUE, "pp": GREEN, "dp": ORANGE}


def planned() -> RunConfig:
    """Return GPT-3 on 1024 GPUs."""
    run = gpt_175b()
    layout = dataclasses.replace(run.layout, tp=8, pp=8, dp=16, sp=True)
    return dataclasses.replace(run, layout=layout)


def totals() -> dict[str, int]:
    """Return the bytes that a GPU in the middle of the pipeline sends in a step, by axis."""
    layout = planned().layout
    assert layout.dp is not None
    stride = layout.dp * layout.tp
    return bytes_per_step(planned(), stride * layout.pp, rank=stride * layout.pp // 2)


def draw() -> Figure:
    figure, axes = new_sheet()
    draw_block(axes, plain=True)
    run = planned()
    model, tp = run.model, run.layout.tp
    activations = run.train.micro_batch * model.seq_len * model.d_model * WEIGHT_BYTES
    square = model.d_model**2 * WEIGHT_BYTES / tp

    def message(at: tuple[float, float], axis: str) -> None:
        marker = {"tp": "D", "pp": "s", "dp": "o"}[axis]
        axes.plot(*at, marker, color=COLOURS[axis], markersize=15, zorder=5)

    def label(at: tuple[float, float], axis: str, words: str, num_bytes: float) -> None:
        write(axes, at, f"{words}{num_bytes / 1e6:.0f} MB", color=COLOURS[axis], fontweight="bold")

    for y, counts in zip(PARTS_Y, ((3, 1), (4, 4)), strict=True):
        gather, scatter = ((NORM_X + FIRST_X) / 2, y), ((LAST_X + JOIN) / 2 + 0.2, y)
        for at, words in ((gather, "gather "), (scatter, "scatter ")):
            message(at, "tp")
            label((at[0], y + 0.65), "tp", words, activations)
        for x, count in zip((FIRST_X, LAST_X), counts, strict=True):
            message((x, y - 0.4), "dp")
            words = "gradients " if y == PARTS_Y[0] else ""
            label((x, y - 0.71), "dp", words, count * square)
    message((LEFT + 0.2, STREAM_Y[0]), "pp")
    message((RIGHT - 0.1, STREAM_Y[1]), "pp")
    label((LEFT + 1.85, 2.74), "pp", "from the stage before: ", activations / tp)
    label((CORE_X, 0.72), "pp", "to the next stage: ", activations / tp)

    sent, count = totals(), micro_batches(run, run.layout)
    write(axes, (LEFT, 0.18), f"A GPU sends in a step of {count} micro-batches", ha="left")
    for x, axis in ((5.35, "tp"), (7.2, "dp"), (8.85, "pp")):
        message((x, 0.18), axis)
        words = f"{axis}: {sent[axis] / 1e9:.0f} GB"
        write(axes, (x + 0.2, 0.18), words, ha="left", color=COLOURS[axis], fontweight="bold")
    return figure
