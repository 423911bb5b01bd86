"""Best model size for a compute budget, in six domains.

N_opt = (C / C_0)^beta with the constants of Henighan et al. 2020 (arXiv:2010.14701), table 1,
column N_opt(C); language is from Kaplan et al. 2020. Hoffmann et al. 2022 later found 0.5 for
language, with learning rates that end when training does; what is drawn is the agreement of the
domains.
"""

import numpy as np
from matplotlib.figure import Figure

from slides.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PINK,
    log_ticks,
    name_lines,
    new_axes,
    power_of_ten,
)

ALT = (
    "The best number of parameters over compute for language, video, images, captions and "
    "mathematics: almost parallel lines, with exponents between 0.64 and 0.75."
)
SOURCE = "Henighan et al. 2020, arXiv:2010.14701, table 1, column N_opt(C): the fitted laws"

DOMAINS = (
    # name, C_0 in PFLOP/s-days, beta, colour, dashes
    ("language", 3.3e-13, 0.73, INK, "-"),
    ("images 8 x 8", 5.3e-14, 0.64, PINK, "-"),
    ("video", 1.13e-12, 0.71, BLUE, "-"),
    ("images 32 x 32", 1.6e-13, 0.65, ORANGE, "--"),
    ("image to text", 3.3e-12, 0.72, GREY, "-"),
    ("mathematics", 2.3e-12, 0.69, GREEN, "--"),
)


def draw() -> Figure:
    """Draw the six lines over the decades that all domains share."""
    figure, axes = new_axes()
    at = np.geomspace(1e-4, 1, 20)
    log_ticks(axes.xaxis, [10.0**n for n in range(-4, 1)], [power_of_ten(n) for n in range(-4, 1)])
    sizes = ["100 thousand", "1 million", "10 million", "100 million", "1 billion"]
    log_ticks(axes.yaxis, [1e5, 1e6, 1e7, 1e8, 1e9], sizes)
    axes.set_ylim(1e5, 2e9)
    ends = []
    for name, constant, beta, colour, dashes in DOMAINS:
        size = (at / constant) ** beta
        axes.plot(at, size, color=colour, linestyle=dashes)
        ends.append((f"{name}: C$^{{{beta:.2f}}}$", at[-1], size[-1], colour))
    axes.set_xlim(at[0], at[-1])
    name_lines(axes, ends, left=1.04)
    axes.set_xlabel("training compute C (PFLOP/s-days)")
    axes.set_ylabel("best size (parameters)")
    return figure
