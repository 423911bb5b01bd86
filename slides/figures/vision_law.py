"""Error of Vision Transformers on ImageNet over the compute of their pre-training.

E = 0.09 + 0.26 (C + 0.01)^-0.35, C in TPUv3 core-days: the fit of Zhai et al. 2021
(arXiv:2106.04560), figure 2, fine-tuned on ImageNet; models from 5 million to 2 billion parameters,
less than 1 to more than 10,000 core-days. Their best, ViT-G/14, has 90.45 % top-1 (abstract).
"""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from slides.figures.style import BLUE, GREY, INK, ORANGE, log_ticks, name_line, new_axes

ALT = (
    "The error of Vision Transformers on ImageNet falls from 35 to 10 percent while compute grows "
    "ten-thousandfold: a power law that ends in a floor of 9 percent."
)
SOURCE = "Zhai et al. 2021, arXiv:2106.04560, fig. 2: the fitted law; 90.45 % of ViT-G/14: abstract"

FLOOR, FACTOR, SHIFT, EXPONENT = 0.09, 0.26, 0.01, 0.35
BEST_TOP1 = 0.9045


def error(core_days: ArrayLike) -> Any:
    """Return the share of wrong answers on ImageNet after fine-tuning."""
    return FLOOR + FACTOR * (np.asarray(core_days) + SHIFT) ** -EXPONENT


def draw() -> Figure:
    """Draw the law, its floor, and the part above the floor."""
    figure, axes = new_axes()
    at = np.geomspace(1, 1e4, 80)
    axes.plot(at, 100 * error(at), color=BLUE, linewidth=4)
    name_line(axes, "fitted law", (30, 100 * error(30.0)), BLUE, xytext=(10, 14))
    axes.axhline(100 * FLOOR, color=GREY, linestyle="--")
    name_line(axes, "9 %: the floor of the fit", (1, 100 * FLOOR), GREY, xytext=(8, -16))
    axes.plot(at, 100 * (error(at) - FLOOR), color=ORANGE, linestyle=":")
    name_line(
        axes,
        "what is above the floor: a straight line",
        (300, 100 * (error(300.0) - FLOOR)),
        ORANGE,
        xytext=(-8, -14),
        ha="right",
    )
    best = 100 * (1 - BEST_TOP1)
    axes.plot([1e4, 3e4], [best, best], color=INK, linewidth=5)
    words = f"the best model, ViT-G/14: {best:.2f} %,\nmore than 10,000 core-days"
    name_line(axes, words, (3e4, best), INK, xytext=(0, 44), ha="right", fontweight="normal")
    axes.set_xlim(0.7, 3e4)
    log_ticks(axes.xaxis, [1, 10, 100, 1000, 1e4], ["1", "10", "100", "1,000", "10,000"])
    log_ticks(axes.yaxis, [1, 2, 5, 10, 20, 40])
    axes.set_xlabel("compute of pre-training (TPUv3 core-days)")
    axes.set_ylabel("error on ImageNet (%)")
    axes.set_ylim(0.9, 45)
    return figure
