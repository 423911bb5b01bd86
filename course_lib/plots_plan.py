"""Figures of the planner: what was foretold against what was measured.

Colours, labels and the way figures are made are those of plots.py: kinds of layout are told apart
by colour and marker.
"""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from course_lib.forecasts import BAND, Comparison
from course_lib.plots import BLUE, GREEN, GREY, ORANGE

KINDS = {
    "one rank": ("black", "*"),
    "data": (BLUE, "o"),
    "pipeline": (ORANGE, "s"),
    "tensor": (GREEN, "^"),
    "mixed": ("#CC79A7", "D"),
}
"""Colour and marker of each kind of layout."""
FAR = 1.5 * BAND
"""A run that is further off is named."""


def forecast_figure(comparisons: Sequence[Comparison], *, title: str = "") -> Figure:
    """Draw forecast over measured step time of runs that have both, with a band of 15 %.

    Args:
        comparisons: runs that were foretold; those without a measured step are left out.
        title: text above the axes.

    Raises:
        ValueError: no run has both.
    """
    both = [each for each in comparisons if each.measured_s is not None]
    if not both:
        raise ValueError("nothing to draw: no run with a forecast has taken enough steps yet")
    figure = Figure(figsize=(6.4, 5.8), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    times_s = [t for each in both for t in (each.forecast_s, each.measured_s) if t is not None]
    ends = [min(times_s) / 1.4, max(times_s) * 1.4]
    axes.fill_between(
        ends,
        [end * (1 - BAND) for end in ends],
        [end * (1 + BAND) for end in ends],
        color=GREY,
        alpha=0.18,
        linewidth=0,
        label=f"within {BAND:.0%}",
    )
    axes.plot(ends, ends, color=GREY, linewidth=1.2)
    for kind, (colour, marker) in KINDS.items():
        own = [each for each in both if each.kind == kind]
        if not own:
            continue
        style = {"color": colour, "linestyle": "none", "alpha": 0.85}
        axes.plot(
            [each.measured_s or 0.0 for each in own],
            [each.forecast_s for each in own],
            marker,
            markersize=9 if marker == "*" else 6,
            label=f"{kind} ({len(own)})",
            **style,
        )
    for each in both:
        if each.error is not None and abs(each.error) > FAR:
            # Towards the middle of the figure, and away from the line where it can.
            right = (each.measured_s or 0.0) < math.sqrt(ends[0] * ends[1])
            axes.annotate(
                f"{each.name.split('-')[0]} {each.words}",
                (each.measured_s or 0.0, each.forecast_s),
                xytext=(-6, -2) if not right else (6, -2) if each.error < 0 else (-4, 8),
                textcoords="offset points",
                ha="left" if right else "right",
                va="top" if each.error < 0 else "bottom",
                fontsize=7,
                color=GREY,
            )
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("measured step (s)")
    axes.set_ylabel("forecast step (s)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    mean = sum(abs(each.error or 0.0) for each in both) / len(both)
    words = f"{len(both)} runs, mean error {mean:.1%}"
    axes.text(0.97, 0.03, words, transform=axes.transAxes, fontsize=9, ha="right")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    if title:
        axes.set_title(title, fontsize=11, loc="left")
    return figure
