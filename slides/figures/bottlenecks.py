"""What a bottleneck costs that wastes a share of every step: days and money, for GPT-3.

175 billion parameters, 300 billion tokens, 1024 A100s at 140 TFLOP/s each, the example of Narayanan
et al. 2021 (arXiv:2104.04473, section 5.1: 34 days), with their equation (3) for the FLOPs. If a
share x of the step is lost, it takes 1 / (1 - x) times as long. Money is GPU hours times the range
of prices in course_lib.plan.hardware.
"""

from typing import Any

from matplotlib.figure import Figure

from course_lib.plan.counts import step_flops
from course_lib.plan.hardware import find_hardware
from course_lib.plan.models import TOKENS, gpt_175b
from slides.figures.style import BLUE, LARGE_PT, ORANGE, new_axes

ALT = (
    "Five bars: GPT-3 on 1024 A100 takes 35 days if nothing is lost; a bottleneck that wastes 5 % "
    "of every step adds 2 days, 10 % adds 4, 20 % adds 9, and 50 % adds another 35 days, up to 4 "
    "million dollars."
)
SOURCE = (
    "Narayanan et al. 2021 (arXiv:2104.04473), section 5.1; prices of cloud GPUs as in "
    "course_lib.plan.hardware"
)

NUM_GPUS, FLOPS_PER_GPU = 1024, 140e12
LOST = (0.0, 0.05, 0.1, 0.2, 0.5)


def days_without_loss() -> float:
    """Return the days that the training takes when every step is as fast as it was measured."""
    model = gpt_175b().model
    shape = (model.seq_len, model.num_layers, model.d_model, model.vocab_size)
    flops = TOKENS / model.seq_len * step_flops(1, *shape)
    return flops / (NUM_GPUS * FLOPS_PER_GPU) / 86_400


def draw() -> Figure:
    figure, axes = new_axes()
    base = days_without_loss()
    hourly = find_hardware("a100-80gb").price_per_hour
    prices = [24 * NUM_GPUS * price / 1e6 for price in hourly]
    bold: dict[str, Any] = {"va": "center", "fontweight": "bold", "fontsize": LARGE_PT}
    for place, lost in enumerate(LOST):
        more = base / (1 - lost) - base
        axes.barh(place, base, color=BLUE, height=0.66)
        axes.barh(place, more, left=base, color=ORANGE, height=0.66, hatch="//", edgecolor="white")
        colour, words = (ORANGE, f"+{more:.0f} days") if lost else (BLUE, f"{base:.0f} days")
        axes.text(base + more + 1, place, words, color=colour, **bold)
        paid = [price * (more or base) for price in prices]
        sign = "+" if lost else " "
        axes.text(92, place, f"{sign}{paid[0]:.2f} to {paid[1]:.2f}", color=colour, **bold)
    words = f"million USD, at {hourly[0]:.2f}\nto {hourly[1]:.2f} per GPU and hour"
    axes.text(122, -0.95, words, va="center", ha="right")
    axes.set_yticks(range(len(LOST)), ["nothing", *(f"{lost:.0%}" for lost in LOST[1:])])
    axes.set(xlim=(0, 122), ylim=(len(LOST) - 0.5, -1.45))
    axes.set_xticks(range(0, 71, 10))
    axes.set_xlabel("days of training", x=35 / 122)
    axes.set_ylabel("share of every\nstep that is lost")
    axes.grid(axis="y", visible=False)
    axes.spines["bottom"].set_bounds(0, 70)
    axes.tick_params(axis="y", length=0)
    return figure
