"""What every parameter takes before a single activation: 16 bytes, and what that comes to.

Weights and gradients in 16 bits, a float32 master copy and AdamW's two means: 2 + 2 + 4 + 8 bytes
(Rajbhandari et al. 2020, arXiv:1910.02054, section 3.1), as course_lib.plan.memory counts them for
a model of the lecture's table. A billion parameters: 16e9 bytes = 14.9 GiB.
"""

import math

from matplotlib.figure import Figure

from course_lib.plan.counts import num_parameters
from course_lib.plan.hardware import find_hardware
from course_lib.plan.memory import state_bytes
from course_lib.plan.models import planned_run
from slides.figures.style import BLUE, INK, LARGE_PT, ORANGE, SKY, log_ticks, new_figure

ALT = (
    "Left, the 16 bytes of a parameter stacked: weights 2, gradients 2, master weights 4, AdamW's "
    "means 8; 14.9 GiB for a billion. Right, memory against parameters: 10 billion need 149 GiB, a "
    "trillion 14.6 TiB, which fills 200 A100 of 80 GB."
)
SOURCE = (
    "Rajbhandari et al. 2020 (arXiv:1910.02054), section 3.1; computed by course_lib.plan.memory"
)

GIB = 2**30
COLOURS = {"weights": BLUE, "gradients": ORANGE, "master": INK, "optimizer": SKY}
NAMES = {
    "weights": "weights, 16 bits",
    "gradients": "gradients, 16 bits",
    "master": "weights again, 32 bits",
    "optimizer": "AdamW's two means",
}
SIZES = {"1B": 1e9, "10B": 1e10, "100B": 1e11, "1T": 1e12}


def bytes_per_parameter() -> dict[str, float]:
    """Return the bytes that each owner holds for a parameter, on one GPU without any sharing.

    To a hundredth, as AdamW also counts the steps of each tensor.
    """
    run = planned_run("gpt_1_7b")
    held = state_bytes(run, 1)
    numbers = num_parameters(run.model)
    return {owner: round(num_bytes / numbers, 2) for owner, num_bytes in held.items()}


def draw() -> Figure:
    figure = new_figure()
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    below = 0.0
    for owner, num_bytes in bytes_per_parameter().items():
        left.bar(0, num_bytes, bottom=below, width=0.8, color=COLOURS[owner])
        middle = below + num_bytes / 2
        ink = INK if owner == "optimizer" else "white"
        bold = {"va": "center", "fontweight": "bold"}
        left.text(0, middle, f"{num_bytes:.0f}", ha="center", color=ink, **bold)
        left.text(0.5, middle, NAMES[owner], va="center")
        below += num_bytes
    gib = below * 1e9 / GIB
    words = f"1 billion parameters: {gib:.1f} GiB"
    left.text(-0.4, below + 0.5, words, fontsize=LARGE_PT, fontweight="bold", va="bottom")
    left.set(xlim=(-0.45, 3.4), ylim=(0, below + 2.2))
    left.set_yticks(range(0, 17, 4))
    left.set_xticks([])
    left.set_ylabel("bytes per parameter")
    left.spines["bottom"].set_visible(False)
    left.grid(visible=False)

    sizes = list(SIZES.values())
    needed = [below * size / GIB for size in sizes]
    right.plot(sizes, needed, "o-", color=BLUE, markersize=12)
    capacity = find_hardware("a100-80gb").memory_bytes / GIB
    for size, gibs in zip(sizes[1:], needed[1:], strict=True):
        gpus = math.ceil(gibs / capacity)
        right.text(
            size / 1.2, 1.35 * gibs, f"= {gpus} A100", ha="right", va="bottom", fontweight="bold"
        )
    largest = find_hardware("b200-180gb").memory_bytes / GIB
    right.axhspan(capacity, largest, color=ORANGE, alpha=0.3, linewidth=0)
    right.text(1.3e12, 58, "one GPU: 80 (A100)\nto 180 GB (B200)", ha="right", va="top")
    log_ticks(right.xaxis, sizes, list(SIZES))
    log_ticks(right.yaxis, [10, 100, 1000, 10_000], ["10 GiB", "100 GiB", "1000 GiB", "10,000 GiB"])
    right.set(xlim=(7e8, 1.6e12), ylim=(8, 40_000))
    right.set_xlabel("parameters")
    return figure
