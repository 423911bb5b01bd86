"""What each further 0.1 nats of loss costs.

Training compute of the best size for a loss, by the law that Besiroglu et al. 2024
(arXiv:2404.10102) fitted to the runs of Hoffmann et al. 2022; a bar is the difference of two
losses, in GPU-hours and dollars as in training_cost.py. 0.1 nats less is a perplexity 10 % lower.
Chinchilla, the largest run that confirmed the law, took 5.76e23 FLOPs: beyond it a bar is hatched.
"""

import math
from typing import Any

from matplotlib.figure import Figure

from course_lib.plan.scaling import BESIROGLU_2024, compute_optimal
from slides.figures.style import BLUE, GREY, INK, ORANGE, log_ticks, name_line, new_axes
from slides.figures.training_cost import in_words, price_usd

ALT = (
    "Cost of each further 0.1 nats of loss on a logarithmic axis: from some hundred dollars to a "
    "hundred million. Every step costs more than the one before; the factor itself grows, from 3 "
    "to 92."
)
SOURCE = (
    "law: Besiroglu et al. 2024, arXiv:2404.10102; A100 80 GB at 40 % of its peak, 1.1 to 5.1 "
    "dollars an hour"
)

LOSSES = (2.6, 2.5, 2.4, 2.3, 2.2, 2.1, 2.0, 1.9)
CHINCHILLA_FLOPS = 5.76e23


def flops_for(loss: float) -> float:
    """Return the least training FLOPs for a loss: the best size's, found by bisection."""
    law = BESIROGLU_2024
    low, high = 1e15, 1e30
    for _ in range(100):
        middle = math.sqrt(low * high)
        if float(law.loss(*compute_optimal(law, middle))) > loss:
            low = middle
        else:
            high = middle
    return high


def draw() -> Figure:
    """Draw the cost of each step, lowest to highest price."""
    figure, axes = new_axes()
    totals = [flops_for(loss) for loss in LOSSES]
    for place in range(len(LOSSES) - 1):
        step = totals[place + 1] - totals[place]
        low, high = price_usd(step)
        far = totals[place + 1] > CHINCHILLA_FLOPS
        hatched = {"facecolor": "white", "edgecolor": ORANGE, "hatch": "//"}
        style: dict[str, Any] = hatched if far else {"color": BLUE}
        axes.bar(place, high - low, bottom=low, width=0.6, **style)
        dollars = f"{in_words(math.sqrt(low * high))} $"
        name_line(axes, dollars, (place, high), INK, xytext=(0, 14), ha="center")
        if place:
            before = totals[place] - totals[place - 1]
            times = f"\N{MULTIPLICATION SIGN} {step / before:.2g}"
            name_line(axes, times, (place, low), GREY, xytext=(0, -14), ha="center")
    names = [f"{a:.1f} to\n{b:.1f}" for a, b in zip(LOSSES, LOSSES[1:], strict=False)]
    axes.set_xticks(range(len(names)), names)
    axes.grid(axis="x", visible=False)
    last = (len(LOSSES) - 2.3, price_usd(totals[-1])[0])
    name_line(axes, "extrapolated", last, ORANGE, xytext=(-10, 8), ha="right")
    ticks = {1e2: "100 $", 1e4: "10,000 $", 1e6: "1 million $", 1e8: "100 million $"}
    log_ticks(axes.yaxis, list(ticks), list(ticks.values()))
    axes.set_xlabel("loss (nats per token): each step makes perplexity 10 % lower")
    axes.set_ylim(30, 2e9)
    axes.set_ylabel("price of the step")
    return figure
