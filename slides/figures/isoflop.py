"""Loss over size at five fixed budgets, and the best size foretold for a budget 192 times larger.

The lines are the law that Besiroglu et al. 2024 (arXiv:2404.10102) fitted to the runs of Hoffmann
et al. 2022 (arXiv:2203.15556), at five of the paper's nine budgets (section 3.2) and over sizes
of a fifth to five times the best. Parabolas through them find the valleys, and a power law through
the valleys the best size for Gopher's 5.76e23 FLOPs, by plan/isoflop.py: the paper's approach 2.
Chinchilla was then trained with 70 billion parameters (section 4).
"""

import numpy as np
from matplotlib.figure import Figure

from course_lib.plan.isoflop import isoflop_law, isoflop_valley
from course_lib.plan.scaling import (
    BESIROGLU_2024,
    FLOPS_PER_PARAMETER_AND_TOKEN,
    compute_optimal,
)
from slides.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PINK,
    log_ticks,
    name_line,
    new_figure,
    power_of_ten,
)

ALT = (
    "Left: at each of five budgets the loss over model size has a valley, and the valley moves to "
    "larger models. Right: the valleys lie on a line, which foretells 72 billion parameters for a "
    "budget 192 times larger than any of these runs; Chinchilla was built with 70."
)
SOURCE = (
    "law of Besiroglu et al. 2024 at budgets of Hoffmann et al. 2022, arXiv:2203.15556, sec. 3.2"
)

BUDGETS = (6e18, 3e19, 1e20, 6e20, 3e21)
COLOURS = (GREY, BLUE, GREEN, PINK, ORANGE)
GOPHER_FLOPS = 5.76e23
CHINCHILLA_PARAMETERS = 70e9
REACH = 5


def draw() -> Figure:
    """Draw the valleys, and where they lead."""
    figure = new_figure()
    left, right = figure.subplots(1, 2, width_ratios=(6, 5))
    valleys = []
    for flops, colour in zip(BUDGETS, COLOURS, strict=True):
        best = float(compute_optimal(BESIROGLU_2024, flops).parameters)
        sizes = np.geomspace(best / REACH, best * REACH, 41)
        tokens = flops / (FLOPS_PER_PARAMETER_AND_TOKEN * sizes)
        losses = BESIROGLU_2024.loss(sizes, tokens)
        valley = isoflop_valley(sizes, losses, flops=flops)
        valleys.append(valley)
        left.plot(sizes, losses, color=colour)
        left.plot(valley.parameters, valley.loss, "o", color=colour, markersize=11)
        mantissa, exponent = f"{flops:.0e}".split("e+")
        words = power_of_ten(int(exponent))
        words = words if mantissa == "1" else f"{mantissa}\N{MULTIPLICATION SIGN}{words}"
        words = f"C = {words}" if flops == BUDGETS[0] else words
        offset = {"xytext": (6, 4), "ha": "left", "va": "bottom"}
        name_line(left, words, (sizes[-1], losses[-1]), colour, **offset)
        right.plot(flops, valley.parameters, "o", color=colour, markersize=11)
    law = isoflop_law(valleys)
    at = np.geomspace(BUDGETS[0], GOPHER_FLOPS, 20)
    right.plot(at, law.parameters.at(at), color=INK, linestyle="--", zorder=1)
    foretold = float(law.parameters.at(GOPHER_FLOPS))
    right.plot(GOPHER_FLOPS, CHINCHILLA_PARAMETERS, "*", color=ORANGE, markersize=24)
    words = f"foretold {foretold / 1e9:.0f} billion\nChinchilla: 70 billion"
    offset = {"xytext": (-18, 2), "ha": "right"}
    name_line(right, words, (GOPHER_FLOPS, CHINCHILLA_PARAMETERS), ORANGE, **offset)
    exponent = law.parameters.exponent
    right.text(0.96, 0.08, f"N ~ C$^{{{exponent:.2f}}}$", transform=right.transAxes, ha="right")
    log_ticks(left.xaxis, [1e8, 1e9, 1e10], ["100 million", "1 billion", "10 billion"])
    left.set_xlim(3e7, 2.5e11)
    left.set_ylim(2.15, 3.35)
    left.set_xlabel("parameters N")
    left.set_ylabel("loss (nats per token)")
    log_ticks(right.xaxis, [10.0**n for n in (19, 21, 23)], [power_of_ten(n) for n in (19, 21, 23)])
    log_ticks(
        right.yaxis,
        [1e8, 1e9, 1e10, 1e11],
        ["100 million", "1 billion", "10 billion", "100 billion"],
    )
    right.set_ylim(1e8, 3e11)
    right.set_xlim(3e18, 2e24)
    right.set_xlabel("training FLOPs C")
    right.set_ylabel("best N")
    return figure
