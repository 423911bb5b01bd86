"""Pieces of the explorer's pictures, as text: SVG, rectangles, labels, round numbers."""

import html
import math
from collections.abc import Sequence


def svg(wide: int, high: float, shapes: Sequence[str], label: str) -> str:
    """Return a picture of shapes, with the text that a screen reader says instead.

    Shapes may be filled with two hatches: url(#wx-wait) and url(#wx-over).
    """
    stripes = {"wx-wait": "#999", "wx-over": "#D32F2F"}
    hatches = "".join(
        f'<pattern id="{name}" width="5" height="5" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><path d="M0 0V5" stroke="{colour}" stroke-width="'
        f'{3 if name == "wx-over" else 1.2}"/></pattern>'
        for name, colour in stripes.items()
    )
    return (
        f'<svg viewBox="0 0 {wide} {high:.0f}" role="img" aria-label="{html.escape(label)}">'
        f"<defs>{hatches}</defs>{''.join(shapes)}</svg>"
    )


def rect(x: float, y: float, width: float, height: float, fill: str, edge: str = "") -> str:
    """Return a rectangle; its height may have come out below 0 by rounding."""
    stroke = f' stroke="{edge}"' if edge else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(height, 0):.1f}" '
        f'fill="{fill}"{stroke}/>'
    )


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    """Return a label; `kind` is a class of the style sheet (page.py)."""
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'


def round_numbers(highest: float, *, most: int = 6) -> list[float]:
    """Return 0 and at most so many round numbers up to the highest."""
    raw = highest / most
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    return [step * i for i in range(int(highest / step) + 1)]


def in_seconds(seconds: float) -> str:
    """Return seconds with digits for a bar: 14.19 s, 25.3 ms."""
    if seconds >= 0.1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.3g} ms" if seconds else "0 s"
