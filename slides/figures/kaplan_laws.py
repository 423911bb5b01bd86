"""Loss of a language model over compute, data and size: three power laws.

L = (x_c / x)^alpha with the constants of Kaplan et al. 2020 (arXiv:2001.08361), equations 1.1 to
1.3, drawn over the ranges of section 3: 768 to 1.5 billion parameters without embeddings, 22
million to 23 billion tokens; and eight orders of magnitude of compute.
"""

import numpy as np
from matplotlib.figure import Figure

from slides.figures.style import BLUE, GREEN, LARGE_PT, ORANGE, log_ticks, new_figure, power_of_ten

ALT = (
    "Three straight lines on logarithmic axes: the loss falls as a power of compute, of data and "
    "of parameters. Ten times more compute lowers it by 11 percent, ten times more data by 20, "
    "ten times more parameters by 16."
)
SOURCE = "Kaplan et al. 2020, arXiv:2001.08361, eqs. 1.1-1.3: the laws over the ranges measured"

LAWS = (
    # what, x_c, alpha, from, to, exponents of the ticks, colour
    ("compute (PFLOP/s-days)", 3.1e8, 0.050, 1e-7, 1e1, (-7, -4, -1), BLUE),
    ("data (tokens)", 5.4e13, 0.095, 22e6, 23e9, (8, 9, 10), ORANGE),
    ("parameters, no embeddings", 8.8e13, 0.076, 768, 1.5e9, (3, 6, 9), GREEN),
)


def draw() -> Figure:
    """Draw the three laws beside each other."""
    figure = new_figure()
    for axes, law in zip(figure.subplots(1, 3, sharey=True), LAWS, strict=True):
        what, constant, alpha, low, high, ticks, colour = law
        at = np.geomspace(low, high, 50)
        axes.plot(at, (constant / at) ** alpha, color=colour, linewidth=4)
        log_ticks(axes.xaxis, [10.0**each for each in ticks], [power_of_ten(n) for n in ticks])
        log_ticks(axes.yaxis, [2, 3, 4, 5, 6, 7])
        axes.set_ylim(2, 7.5)
        axes.set_xlabel(what)
        less = f"10 times more:\nloss {10**-alpha - 1:.0%}".replace("-", "\N{MINUS SIGN}")
        place = {"transform": axes.transAxes, "ha": "right", "va": "top"}
        axes.text(0.98, 0.98, less, color=colour, fontsize=LARGE_PT, fontweight="bold", **place)
        axes.text(0.05, 0.06, f"L ~ x$^{{-{alpha:.3f}}}$", transform=axes.transAxes)
    figure.axes[0].set_ylabel("loss (nats per token)")
    return figure
