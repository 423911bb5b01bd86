"""Reducible loss over compute in five domains: the same kind of law.

L - L_inf = (C_0 / C)^alpha with the constants of Henighan et al. 2020 (arXiv:2010.14701), table 1,
column L(C), in nats per token; for language no L_inf could be fitted, so its whole loss is drawn.
"""

import numpy as np
from matplotlib.figure import Figure

from slides.figures.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PINK,
    log_ticks,
    name_lines,
    new_axes,
    power_of_ten,
)

ALT = (
    "Straight lines on logarithmic axes for language, video, mathematics and images of two sizes: "
    "in every domain the reducible loss falls as a power of compute, at different slopes."
)
SOURCE = "Henighan et al. 2020, arXiv:2010.14701, table 1, column L(C): the fitted laws"

DOMAINS = (
    # name, C_0 in PFLOP/s-days, alpha, colour, dashes
    ("language (whole loss)", 3.47e8, 0.048, INK, "-"),
    ("video", 2.2e-5, 0.14, BLUE, "-"),
    ("mathematics", 1.4e-5, 0.17, GREEN, "--"),
    ("images 32 x 32", 3.6e-9, 0.10, ORANGE, "-"),
    ("images 8 x 8", 1.8e-8, 0.19, PINK, "-"),
)


def draw() -> Figure:
    """Draw the five lines over the decades that all domains share."""
    figure, axes = new_axes()
    at = np.geomspace(1e-4, 1, 20)
    log_ticks(axes.xaxis, [10.0**n for n in range(-4, 1)], [power_of_ten(n) for n in range(-4, 1)])
    log_ticks(axes.yaxis, [0.03, 0.1, 0.3, 1, 3])
    axes.set_ylim(0.025, 5)
    ends = []
    for name, constant, alpha, colour, dashes in DOMAINS:
        loss = (constant / at) ** alpha
        axes.plot(at, loss, color=colour, linestyle=dashes)
        ends.append((f"{name}: C$^{{-{alpha:.2f}}}$", at[-1], loss[-1], colour))
    axes.set_xlim(at[0], at[-1])
    name_lines(axes, ends, left=1.04)
    axes.set_xlabel("training compute C (PFLOP/s-days)")
    axes.set_ylabel("reducible loss (nats per token)")
    return figure
