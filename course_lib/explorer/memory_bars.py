"""What the GPUs of each pipeline stage hold, as bars by owner, with the limit as a line."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from course_lib.explorer.answer import Answer
from course_lib.explorer.shapes import rect, round_numbers, svg, text
from course_lib.planning_tables import GIB
from course_lib.profile.memory_profile import OWNER_COLOURS

COLOURS = {
    "weights": OWNER_COLOURS["parameters"],
    "gradients": OWNER_COLOURS["gradients"],
    "master": OWNER_COLOURS["master"],
    "optimizer": OWNER_COLOURS["optimizer"],
    "activations": OWNER_COLOURS["activations"],
    "logits": OWNER_COLOURS["buffers"],
    "other": OWNER_COLOURS["other"],
}
"""By owner of memory (plan/owners.py); bars are stacked in this order, from below."""
RED = "#D32F2F"
WIDE, HIGH, LEFT, RIGHT, TOP, BOTTOM = 450, 176, 42, 4, 12, 30
"""Of the picture, and its margins."""


def memory(answer: Answer) -> str:
    """Draw the bytes of every stage; what is above the limit is hatched red, and said."""
    bars = [
        {name: float(answer.stage_bytes[name][stage]) / GIB for name in COLOURS}
        for stage in range(answer.settings.pp)
    ]
    usable = answer.request.usable_bytes / GIB
    limit = usable if math.isfinite(usable) else 0.0
    top = 1.08 * max(limit, *(sum(bar.values()) for bar in bars))
    frame = _Frame(stages=len(bars), top=top)
    shapes = _axes(frame)
    shapes += [_bar(frame, stage, bar, limit) for stage, bar in enumerate(bars)]
    if limit:
        y, whole = frame.y(limit), answer.request.hardware.memory_bytes / GIB
        style = f'style="stroke:{RED};stroke-width:2" stroke-dasharray="6 3"'
        shapes.append(f'<path class="line" {style} d="M{LEFT} {y:.1f}H{WIDE - RIGHT}"/>')
        words = f"limit {limit:.1f} GiB (the GPU has {whole:.1f})"
        shapes.append(text(WIDE - RIGHT, y - 3, words, "end", "over"))
    total = in_gib(answer.forecast.total_bytes)
    heading = f"Memory of the fullest GPU: {total} GiB"
    if answer.too_large:
        over = in_gib(answer.forecast.total_bytes - answer.request.usable_bytes)
        heading += f', <span class="red">{over} too much</span>'
    label = f"memory of {len(bars)} pipeline stages: {total} GiB on the fullest GPU"
    label += f", limit {limit:.1f} GiB" if limit else ""
    return f"<h4>{heading}</h4>{svg(WIDE, HIGH, shapes, label)}{_legend(answer)}"


def in_gib(num_bytes: float) -> str:
    """Return bytes as a number of GiB, such as 64.7 or 0.031."""
    gib = num_bytes / GIB
    return f"{gib:.1f}" if gib >= 0.95 else f"{gib:.2g}"


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """Where stages and GiB lie in the picture."""

    stages: int
    top: float
    """GiB at the upper edge."""

    def y(self, gib: float) -> float:
        return TOP + (HIGH - TOP - BOTTOM) * (1 - gib / self.top)

    def x(self, stage: int) -> float:
        """Return the middle of a bar."""
        return LEFT + self.slot * (stage + 0.5)

    @property
    def slot(self) -> float:
        return (WIDE - LEFT - RIGHT) / self.stages


def _bar(frame: _Frame, stage: int, gib: dict[str, float], limit: float) -> str:
    """Return a stage's bar; the pointer shows its numbers."""
    width = min(46.0, max(frame.slot * 0.8, frame.slot - 6))
    x = frame.x(stage) - width / 2
    told, pieces = [f"stage {stage}: {sum(gib.values()):.1f} GiB"], []
    # A sum for every edge, so that neighbours meet and the highest is the total.
    edges = np.cumsum([0.0, *gib.values()]).tolist()
    for name, low, high in zip(gib, edges, edges[1:], strict=False):
        if high > low:
            told.append(f"{name} {high - low:.2f}")
            height = frame.y(low) - frame.y(high)
            pieces.append(rect(x, frame.y(high), width, height, COLOURS[name]))
    if limit and edges[-1] > limit:
        told.append(f"{edges[-1] - limit:.1f} GiB too much")
        height = frame.y(limit) - frame.y(edges[-1])
        pieces.append(rect(x, frame.y(edges[-1]), width, height, "url(#wx-over)", RED))
    return f"<g><title>{'&#10;'.join(told)}</title>{''.join(pieces)}</g>"


def _axes(frame: _Frame) -> list[str]:
    ticks = round_numbers(frame.top)
    shapes = []
    for tick in ticks:
        y = frame.y(tick)
        shapes.append(f'<path class="line thin" d="M{LEFT} {y:.1f}H{WIDE - RIGHT}"/>')
        shapes.append(text(LEFT - 5, y + 4, f"{tick:g}", "end"))
    middle = (frame.y(ticks[0]) + frame.y(ticks[-1])) / 2
    turned = text(0, 0, "GiB on a GPU", "middle")
    shapes.append(f'<g transform="translate(10 {middle:.0f}) rotate(-90)">{turned}</g>')
    for stage in _labelled(frame):
        shapes.append(text(frame.x(stage), HIGH - BOTTOM + 12, str(stage), "middle"))
    shapes.append(text((LEFT + WIDE - RIGHT) / 2, HIGH - 4, "pipeline stage", "middle"))
    return shapes


def _labelled(frame: _Frame) -> Sequence[int]:
    """Return the stages that have their number below: not closer than it is wide."""
    step = max(1, 2 ** math.ceil(math.log2(26 / frame.slot)))
    return range(0, frame.stages, step)


def _legend(answer: Answer) -> str:
    """Return the colours, with the GiB on the fullest GPU."""
    fullest = answer.forecast.memory_bytes
    keys = (
        f'<span style="white-space:nowrap"><span class="key" style="background:{colour}"></span>'
        f"{name} {in_gib(fullest[name])}</span> "
        for name, colour in COLOURS.items()
        if fullest[name] > 0.001 * answer.forecast.total_bytes
    )
    return f"<div>{''.join(keys)}</div>"
