"""What each term of the lecture's formula is worth, for the ten models of its table.

F = 96 B s l h^2 (1 + s / 6h + V / 16lh), Narayanan et al. 2021 (arXiv:2104.04473), equation (3),
for the shapes of their Table 1 with s = 2048 and V = 51200. The terms are the FLOPs of the
operators that they stand for (course_lib.plan.counts): all of a layer is computed forward twice and
the head once, and backward is twice a forward, so layers count fourfold and the head threefold.
"""

from typing import Any

from matplotlib.figure import Figure

from course_lib.plan.counts import operator_flops
from course_lib.plan.published import NARAYANAN_2021, PublishedRun
from slides.figures.style import BLUE, GREEN, ORANGE, new_axes

ALT = (
    "Ten bars, one for each model from 1.7 to 1008 billion parameters: the matrices of the layers "
    "take 83 % of the FLOPs in the smallest and 99 % in the largest; attention shrinks from 12 % "
    "to 1.3 %, the vocabulary from 5 % to 0.1 %."
)
SOURCE = (
    "Narayanan et al. 2021 (arXiv:2104.04473), eq. (3) and Table 1; computed by "
    "course_lib.plan.counts"
)

ATTENTION = ("scores", "weighted sum")


def shares(row: PublishedRun) -> tuple[float, float, float]:
    """Return the shares of the FLOPs behind 1, s / 6h and V / 16lh."""
    flops = operator_flops(row.model)
    head = 3 * flops.pop("head")
    attention = 4 * sum(flops.pop(name) for name in ATTENTION)
    layers = 4 * sum(flops.values())
    total = layers + attention + head
    return layers / total, attention / total, head / total


def draw() -> Figure:
    figure, axes = new_axes()
    for place, row in enumerate(NARAYANAN_2021):
        left = 0.0
        for share, colour in zip(shares(row), (BLUE, ORANGE, GREEN), strict=True):
            axes.barh(place, 100 * share, left=left, color=colour, height=0.78)
            left += 100 * share
        layers, attention, head = shares(row)
        axes.text(2, place, f"{layers:.0%}", color="white", fontweight="bold", va="center")
        for at, share, colour in ((111, attention, ORANGE), (127, head, GREEN)):
            axes.text(at, place, f"{share:.1%}", color=colour, ha="right", va="center")
    bold: dict[str, Any] = {"fontweight": "bold", "va": "bottom"}
    axes.text(0, -0.7, "1: the matrices of the layers", color=BLUE, **bold)
    axes.text(111, -0.7, "s / 6h:\nattention", color=ORANGE, ha="right", **bold)
    axes.text(114, -0.7, "V / 16lh:\nvocabulary", color=GREEN, ha="left", **bold)
    axes.set_yticks(range(len(NARAYANAN_2021)), [row.name for row in NARAYANAN_2021])
    axes.set_xticks(range(0, 101, 20))
    axes.set(xlim=(0, 134), ylim=(len(NARAYANAN_2021) - 0.5, -2.6))
    axes.set_xlabel("share of the FLOPs of a step (%)", x=50 / 134)
    axes.set_ylabel("parameters")
    axes.grid(visible=False)
    axes.spines["bottom"].set_bounds(0, 100)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure
