"""Figure of a model's gradients beside the numbers that floating-point formats can hold.

After figure 3 of Micikevicius et al. 2018 (arXiv:1710.03740): what lies to the left of a format's
smallest number becomes zero in it.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from course_lib.plots import BLUE, GREY, ORANGE

if TYPE_CHECKING:  # figures are drawn on login nodes, which start without it
    import torch
    from torch import Tensor

LOWEST = -14.0
"""Power of ten at the left end; smaller numbers are counted there."""


def formats_figure(values: Mapping[str, "Tensor"], formats: Mapping[str, "torch.dtype"]) -> Figure:
    """Draw how large numbers are, and under them from where to where each format reaches.

    Args:
        values: one or two sets of numbers, by the words of the legend.
        formats: by name, from the top.
    """
    import torch

    figure = Figure(figsize=(9.0, 5.0), dpi=110, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    styles: list[dict[str, Any]] = [{"color": BLUE}, {"color": ORANGE, "hatch": "//"}]
    for (name, numbers), style in zip(values.items(), styles, strict=False):
        sizes = numbers[numbers != 0].abs().double().log10().clamp(min=LOWEST).numpy()
        weights = [100 / len(sizes)] * len(sizes)
        bins = [LOWEST + 0.25 * step for step in range(81)]
        above.hist(sizes, bins, weights=weights, alpha=0.6, label=name, edgecolor="white", **style)
    above.set_ylabel("share (%)")
    above.legend(frameon=False, fontsize=12)
    for place, (name, dtype) in enumerate(formats.items()):
        limits = torch.finfo(dtype)
        # A subnormal number has as many digits less as it is small.
        low = math.log10(limits.smallest_normal * limits.eps)
        high = math.log10(limits.max)
        left, right = max(low, LOWEST), min(high, 6.0)
        below.barh(place, right - left, left=left, height=0.55, color=GREY)
        largest = f"{limits.max:,.0f}" if limits.max < 1e6 else f"{limits.max:.0e}"
        reach = f"{name}   {10**low:.0e} to {largest}"
        below.text(left + 0.1, place, reach, va="center", color="white", fontsize=11)
    below.set_yticks([])
    below.invert_yaxis()
    below.set_xlim(LOWEST, 6.0)
    below.set_xticks(range(int(LOWEST), 7, 2))
    below.set_xlabel("size of a number, as a power of ten")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=11)
        axes.grid(alpha=0.25, axis="x")
    return figure
