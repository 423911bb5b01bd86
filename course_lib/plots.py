"""Figures that labs and slides share.

Colours are those of Okabe and Ito (2008), which people with colour-blindness can tell apart, and no
line differs from another by colour alone. Every axis has a label with a unit. The functions return
a matplotlib Figure that belongs to nobody: pyplot's global state is left alone, so that a figure
drawn by a test never appears in somebody's cell.
"""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

BLUE = "#0072B2"
ORANGE = "#D55E00"
GREEN = "#009E73"
GREY = "#6E6E6E"
SMOOTH_OVER = 0.02  # the smoothed line's memory, as a share of the run


def loss_figure(records: Sequence[dict[str, Any]], *, steps: int, title: str = "") -> Figure:
    """Draw training and held-out loss over the steps.

    Args:
        records: lines of metrics.jsonl: steps with `loss`, validations with `val_loss` (nats).
        steps: steps of the whole run: the width of the axis, so that a live curve does not shrink.
        title: text above the axes.
    """
    figure = Figure(figsize=(7.0, 3.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    training = [(r["step"], r["loss"]) for r in records if "loss" in r]
    held_out = [(r["step"], r["val_loss"]) for r in records if "val_loss" in r]
    if training:
        at, losses = zip(*training, strict=True)
        axes.plot(at, losses, color=BLUE, alpha=0.3, linewidth=0.8)
        smooth = _smooth(losses, memory=max(1.0, SMOOTH_OVER * steps))
        axes.plot(at, smooth, color=BLUE, linewidth=1.8, label="training (smoothed)")
    if held_out:
        at, losses = zip(*held_out, strict=True)
        style: dict[str, Any] = {"color": ORANGE, "marker": "o", "markersize": 5, "linestyle": "--"}
        axes.plot(at, losses, label="held out", **style)
        last = (at[-1], losses[-1])
        axes.annotate(
            f"{last[1]:.2f}", last, textcoords="offset points", xytext=(7, -4), color=ORANGE
        )
    axes.set_xlim(0, max(steps, 1) * 1.08)
    low, high = axes.get_ylim()
    # The first steps alone would fill the axis with noise, and hide their points in its rim.
    axes.set_ylim(min(low, high - 1.0), high + 0.1)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (nats per token)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if training or held_out:
        axes.legend(frameon=False, loc="upper right")
    if title:
        axes.set_title(title, fontsize=11, loc="left")
    return figure


def png_bytes(figure: Figure) -> bytes:
    """Return the figure as a PNG image."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _smooth(values: Sequence[float], *, memory: float) -> list[float]:
    """Return the running mean that forgets: each value weighs 1/memory, the past the rest."""
    result: list[float] = []
    # At first the memory is what has been seen: the first value is not worth more than others.
    for count, value in enumerate(values, start=1):
        weight = 1 / min(count, memory)
        result.append(value if not result else (1 - weight) * result[-1] + weight * value)
    return result
