"""Boxes, arrows and rows of words for figures that are drawings and have no axes.

The unit is an inch of the slide's figure, from its lower left corner, so that a box can be made as
wide as its words need (16 pt: about 0.14 in a letter).
"""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from slides.figures.style import FULL, INK

Point = tuple[float, float]


def new_sheet(size: Point = FULL) -> tuple[Figure, Axes]:
    """Return a figure with an empty sheet to draw on, measured in inches."""
    figure = Figure(figsize=size)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, size[0]), ylim=(0, size[1]))
    axes.set_axis_off()
    return figure, axes


def box(
    axes: Axes,
    centre: Point,
    size: Point,
    words: str = "",
    *,
    fill: str,
    ink: str = INK,
    **text: Any,
) -> None:
    """Draw a box with rounded corners and words in its middle."""
    corner = (centre[0] - size[0] / 2, centre[1] - size[1] / 2)
    shape = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle=shape, facecolor=fill, edgecolor="none"))
    write(axes, centre, words, color=ink, **text)


def cell(axes: Axes, corner: Point, size: Point, *, fill: str) -> None:
    """Draw a square cell with a white edge, as one of a row."""
    axes.add_patch(Rectangle(corner, *size, facecolor=fill, edgecolor="white", linewidth=1.5))


def arrow(axes: Axes, points: Sequence[Point], *, colour: str = INK, head: bool = True) -> None:
    """Draw a line through points, with a head at its end."""
    xs, ys = zip(*points, strict=True)
    style: dict[str, Any] = {"color": colour, "linewidth": 2.5}
    if not head:
        axes.plot(xs, ys, solid_capstyle="butt", **style)
        return
    axes.plot(xs[:-1], ys[:-1], solid_capstyle="butt", **style)
    axes.add_patch(
        FancyArrowPatch(
            points[-2],
            points[-1],
            arrowstyle="-|>",
            mutation_scale=20,
            shrinkA=0,
            shrinkB=0,
            **style,
        )
    )


def write(axes: Axes, at: Point, words: str, **text: Any) -> None:
    """Write words, centred unless told otherwise."""
    axes.text(*at, words, **{"ha": "center", "va": "center", "linespacing": 1.15} | text)
