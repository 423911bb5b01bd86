"""Parameters and tokens of large models over the loss that the scaling law foretells for them.

Models: Hoffmann et al. 2022 (arXiv:2203.15556), table 1 with Chinchilla itself; Llama 3.1 405B
(Grattafiori et al. 2024, arXiv:2407.21783, section 1). Lines of equal loss and the best sizes: the
law that Besiroglu et al. 2024 (arXiv:2404.10102) fitted to the runs of Hoffmann et al., by
course_lib.plan; those runs ended at 3e21 FLOPs, so that most of this picture is extrapolated.
"""

import numpy as np
from matplotlib.figure import Figure

from course_lib.plan.scaling import (
    BESIROGLU_2024,
    FLOPS_PER_PARAMETER_AND_TOKEN,
    compute_optimal,
)
from slides.figures.style import BLUE, GREEN, GREY, ORANGE, log_ticks, name_line, new_axes

ALT = (
    "Large models by tokens and parameters, with lines of equal loss. The models of 2020 and 2021 "
    "have too many parameters for 300 billion tokens; Chinchilla, at Gopher's compute, is four "
    "times smaller, saw more text, and has a lower loss."
)
SOURCE = (
    "Hoffmann et al. 2022, table 1; Llama 3, sec. 1; law: Besiroglu et al. 2024, arXiv:2404.10102"
)

MODELS = (
    # name, parameters, training tokens, where its name goes: points right and up
    ("LaMDA", 137e9, 168e9, (-12, 0)),
    ("GPT-3, Jurassic-1", 176.5e9, 300e9, (12, -6)),
    ("Gopher", 280e9, 300e9, (12, 4)),
    ("MT-NLG", 530e9, 270e9, (-12, 0)),
    ("Llama 3.1", 405e9, 15.6e12, (0, -20)),
    ("Chinchilla", 70e9, 1.4e12, (12, -10)),
)
GOPHER_FLOPS = 5.76e23
LOSSES = (2.1, 2.05, 2.0, 1.95, 1.9)


def draw() -> Figure:
    """Draw models, lines of equal loss, the best sizes and Gopher's budget."""
    figure, axes = new_axes()
    log_ticks(axes.xaxis, [1e11, 1e12, 1e13], ["100 billion", "1 trillion", "10 trillion"])
    log_ticks(axes.yaxis, [1e10, 1e11, 1e12], ["10 billion", "100 billion", "1 trillion"])
    axes.set_xlim(6e10, 4e13)
    axes.set_ylim(1e10, 1.5e12)
    law = BESIROGLU_2024
    for loss in LOSSES:
        least = (law.A / (loss - law.E)) ** (1 / law.alpha)
        sizes = np.geomspace(least * 1.0001, 3e12, 400)
        tokens = law.tokens_for(sizes, loss)
        axes.plot(tokens, sizes, color=GREY, linewidth=1.2)
        top = np.interp(1.35e12, sizes, tokens)
        axes.text(top, 1.55e12, f"{loss:.2f}", color=GREY, ha="center", va="bottom")
    axes.text(4e13, 1.55e12, "loss (nats per token)", color=GREY, ha="right", va="bottom")
    budgets = np.geomspace(1e22, 1e27, 30)
    best = compute_optimal(law, budgets)
    axes.plot(best.tokens, best.parameters, color=GREEN, linewidth=4)
    name_line(axes, "best size", (3.2e11, 1.5e10), GREEN, xytext=(10, -4))
    tokens = np.geomspace(6e10, 4e13, 10)
    same = GOPHER_FLOPS / (FLOPS_PER_PARAMETER_AND_TOKEN * tokens)
    axes.plot(tokens, same, color=ORANGE, linestyle="--")
    name_line(axes, "same compute\nas Gopher", (6e12, 1.6e10), ORANGE, xytext=(24, 12))
    for name, parameters, seen, (right, up) in MODELS:
        axes.plot(seen, parameters, "o", color=BLUE, markersize=12)
        side = "left" if right > 0 else "right" if right < 0 else "center"
        name_line(
            axes, name, (seen, parameters), BLUE, over_lines=True, xytext=(right, up), ha=side
        )
    axes.set_xlabel("training tokens")
    axes.set_ylabel("parameters")
    return figure
