"""How every figure of the lectures looks: size, type, colours, axes.

A figure is seen from the last row: at full width nothing is written smaller than SMALLEST_PT, lines
are thick, and a line is named where it ends instead of in a legend. Colours are those of Okabe and
Ito (2008), and nothing is told by colour alone. The slide has the title, so the figure has none.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from course_lib.plots import BLUE, GREEN, GREY, ORANGE

__all__ = ["BLUE", "GREEN", "GREY", "ORANGE"]
SKY = "#56B4E9"
YELLOW = "#E69F00"
PINK = "#CC79A7"
INK = "#1A1A1A"
PALE = "#E4E4E4"
"""For what stands behind: bands, boxes, bars that are compared with."""

FULL = (11.2, 5.2)
"""Inches of a figure that fills the slide below its title."""
SMALLEST_PT = 16
LARGE_PT = 20
"""For the number that the slide is about."""

_LOOK: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": SMALLEST_PT,
    "axes.labelsize": SMALLEST_PT,
    "xtick.labelsize": SMALLEST_PT,
    "ytick.labelsize": SMALLEST_PT,
    "legend.fontsize": SMALLEST_PT,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#D5D5D5",
    "lines.linewidth": 3.0,
    "lines.markersize": 9,
    "svg.fonttype": "path",
    "svg.hashsalt": "slides",  # else the names inside an SVG differ from run to run
}


@contextmanager
def look() -> Iterator[None]:
    """Draw in the common look; everything of a figure, its text too, has to be made within."""
    with matplotlib.rc_context(_LOOK):
        yield


def new_figure(size: tuple[float, float] = FULL) -> Figure:
    """Return an empty figure whose axes make room for their labels."""
    return Figure(figsize=size, layout="constrained")


def new_axes(size: tuple[float, float] = FULL) -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes."""
    figure = new_figure(size)
    return figure, figure.add_subplot()


def log_ticks(axis: Axis, values: Sequence[float], words: Sequence[str] = ()) -> None:
    """Make an axis logarithmic, with ticks at `values` only, written as `words` or as numbers."""
    name = "x" if axis is axis.axes.xaxis else "y"
    getattr(axis.axes, f"set_{name}scale")("log")
    axis.set_major_locator(FixedLocator(list(values)))
    axis.set_major_formatter(FixedFormatter(list(words) or [f"{value:g}" for value in values]))
    axis.set_minor_locator(NullLocator())


def power_of_ten(exponent: int) -> str:
    """Return 10 to the exponent as text for a tick or a label."""
    return f"$\\mathdefault{{10^{{{exponent}}}}}$"


def name_line(
    axes: Axes,
    words: str,
    at: tuple[float, float],
    colour: str,
    *,
    over_lines: bool = False,
    **text: Any,
) -> None:
    """Write what a line is, in its colour, to the right of a point of it unless told otherwise.

    Args:
        axes: what the line is in.
        words: its name.
        at: a point of it, in data.
        colour: its colour.
        over_lines: give the letters a white rim, where they cross other lines.
        text: what differs for matplotlib's annotate.
    """
    style: dict[str, Any] = {
        "xytext": (8, 0),
        "textcoords": "offset points",
        "va": "center",
        "color": colour,
        "fontweight": "bold",
        "annotation_clip": False,
    }
    if over_lines:
        style["path_effects"] = [withStroke(linewidth=4, foreground="white")]
    axes.annotate(words, at, **style | text)


GAP = 0.085
"""Between names beside the axes, as a share of their height."""


def name_lines(axes: Axes, ends: Sequence[tuple[str, float, float, str]], left: float) -> None:
    """Write what lines are beside the axes, apart from each other, each joined to its line.

    Args:
        axes: with a logarithmic y axis whose limits are set.
        ends: words, x, y and colour of each line's end.
        left: where the words begin, as a share of the axes' width.
    """
    low, high = (math.log(limit) for limit in axes.get_ylim())
    ordered = sorted(ends, key=lambda end: end[2])
    heights = [(math.log(y) - low) / (high - low) for _, _, y, _ in ordered]
    for _ in range(100):  # neighbours that are too close push each other away
        for below in range(len(heights) - 1):
            push = max(0.0, GAP - (heights[below + 1] - heights[below])) / 2
            heights[below] -= push
            heights[below + 1] += push
    for (words, x, y, colour), height in zip(ordered, heights, strict=True):
        line: dict[str, Any] = {"arrowstyle": "-", "color": colour, "shrinkA": 0, "shrinkB": 2}
        place = {"xytext": (left, height), "textcoords": "axes fraction"}
        name_line(axes, words, (x, y), colour, arrowprops=line | {"relpos": (0, 0.5)}, **place)
