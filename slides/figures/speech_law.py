"""Loss of speech language models over training compute.

L = 1.73 + 13.9 / N^0.25 + 39.8 / D^0.24, the fit of Cuervo and Marxer 2024 (arXiv:2404.00685),
table 5 (constants as printed), for their five sizes (table 1) and token budgets D / N of 2 to 100
(section 3.3.2), up to the 10.89 billion tokens of their 160,000 hours (table 2): one epoch.
C = 6 N D. Droppo and Elibol 2021 (arXiv:2106.09488) found such laws for acoustic models, LSTM and
Transformer.
"""

import numpy as np
from matplotlib.figure import Figure

from course_lib.plan.scaling import FLOPS_PER_PARAMETER_AND_TOKEN, ScalingLaw, compute_optimal
from slides.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PINK,
    log_ticks,
    name_line,
    new_axes,
    power_of_ten,
)

ALT = (
    "Loss of five speech models from 20 to 823 million parameters over compute: each falls, then "
    "flattens, and a larger one goes on. Their lower envelope is a smooth curve: the scaling law."
)
SOURCE = (
    "Cuervo & Marxer 2024, arXiv:2404.00685, table 5: the fitted law, over their sizes and data"
)

LAW = ScalingLaw(A=13.9, B=39.8, E=1.73, alpha=0.25, beta=0.24, source=SOURCE)
SIZES_MILLION = (20, 85, 155, 309, 823)
TOKENS_PER_PARAMETER = (2, 100)
ALL_TOKENS = 10.89e9
COLOURS = (GREY, BLUE, GREEN, PINK, ORANGE)


def draw() -> Figure:
    """Draw the law for each size, and what the best size reaches."""
    figure, axes = new_axes()
    for millions, colour in zip(SIZES_MILLION, COLOURS, strict=True):
        parameters = millions * 1e6
        least, most = (each * parameters for each in TOKENS_PER_PARAMETER)
        tokens = np.geomspace(least, min(most, ALL_TOKENS), 60)
        flops = FLOPS_PER_PARAMETER_AND_TOKEN * parameters * tokens
        loss = LAW.loss(parameters, tokens)
        axes.plot(flops, loss, color=colour)
        name_line(axes, f"{millions} M", (flops[0], loss[0]), colour, xytext=(0, 12), ha="center")
    budgets = np.geomspace(5e15, 5.4e19, 60)
    lowest = LAW.loss(*compute_optimal(LAW, budgets))
    axes.plot(budgets, lowest, color=INK, linestyle="--", linewidth=2.5)
    name_line(
        axes, "the best size for each budget", (3e17, lowest[26]), INK, xytext=(-6, -26), ha="right"
    )
    log_ticks(
        axes.xaxis, [10.0**n for n in range(16, 21)], [power_of_ten(n) for n in range(16, 21)]
    )
    axes.set_xlim(3e15, 1e20)
    axes.set_ylim(1.9, 2.75)
    axes.set_xlabel("training compute (FLOPs)")
    axes.set_ylabel("loss (nats per speech token)")
    return figure
