"""One block of the transformer that large models use, with the shape of what flows through it.

Drawn after course_lib/model/gpt.py: the norms stand before each part and not behind it (pre-LN, as
in GPT-2, Radford et al. 2019), GELU instead of ReLU, and what flows past both parts is never
normalised. Letters are those of ARCHITECTURE.md; F = 4 D, so that the four matrices have 12 D^2
entries. `messages_of_a_block` draws on the same block.
"""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slides.figures.style import BLUE, GREY, LARGE_PT, ORANGE, PALE, YELLOW
from slides.shapes import arrow, box, new_sheet, write

ALT = (
    "A block in two rows: norm, query-key-value matrix, attention, out matrix, added to the stream "
    "that flows past them; then norm, up matrix, GELU, down matrix, added again. Each arrow has "
    "its shape, such as B, T, D."
)
SOURCE = "course_lib/model/gpt.py; pre-LN and GELU as in GPT-2 (Radford et al. 2019)"

PARTS_Y = (4.1, 1.55)
"""Of the two rows of boxes."""
STREAM_Y = (3.0, 0.48)
"""Of what flows past them."""
LEFT, FORK, JOIN, RIGHT = 0.25, 0.75, 10.2, 10.95
HEIGHT = 0.8
WIDTHS = {"norm": 1.0, "matrix": 1.05, "core": 1.75}
NORM_X, FIRST_X, CORE_X, LAST_X = 1.75, 3.75, 6.05, 8.35
"""Of norm, first matrix, what is between the matrices, and second matrix."""


def draw_block(axes: Axes, *, plain: bool = False) -> None:
    """Draw the boxes of a block and its stream; `plain` without colours, to be drawn upon."""
    bold: dict[str, Any] = {"fontsize": 18, "fontweight": "bold"}
    rows = (("norm", "qkv", "attention", "out"), ("norm", "up", "GELU", "down"))
    for y, stream, words in zip(PARTS_Y, STREAM_Y, rows, strict=True):
        arrow(axes, [(LEFT, stream), (JOIN - 0.2, stream)], colour=GREY)
        arrow(axes, [(FORK, stream), (FORK, y), (NORM_X - 0.5, y)])
        arrow(axes, [(NORM_X + 0.5, y), (FIRST_X - 0.52, y)])
        arrow(axes, [(FIRST_X + 0.52, y), (CORE_X - 0.87, y)])
        arrow(axes, [(CORE_X + 0.87, y), (LAST_X - 0.52, y)])
        arrow(axes, [(LAST_X + 0.52, y), (JOIN, y), (JOIN, stream + 0.2)])
        axes.plot(JOIN, stream, "o", color="white", mec=GREY, mew=2.5, markersize=27)
        write(axes, (JOIN, stream + 0.01), "+", fontsize=LARGE_PT, fontweight="bold")
        fills = ((NORM_X, "norm", PALE), (FIRST_X, "matrix", BLUE), (CORE_X, "core", ORANGE))
        fills = (*fills, (LAST_X, "matrix", BLUE))
        for (x, kind, fill), name in zip(fills, words, strict=True):
            fill = YELLOW if name == "GELU" else fill
            fill = PALE if plain else fill
            ink = "white" if fill in (BLUE, ORANGE) else "black"
            size = (WIDTHS[kind], HEIGHT)
            box(axes, (x, y), size, name, fill=fill, ink=ink, **bold)
    top, bottom = STREAM_Y
    between = 2.47
    axes.plot(
        [JOIN + 0.2, RIGHT, RIGHT, LEFT, LEFT],
        [top, top, between, between, bottom],
        color=GREY,
        linewidth=2.5,
    )
    arrow(axes, [(JOIN + 0.2, bottom), (RIGHT + 0.2, bottom)], colour=GREY)


def draw() -> Figure:
    figure, axes = new_sheet()
    draw_block(axes)
    for y, inner, entries in (
        (PARTS_Y[0], "3D", ("3 D²", "D²")),
        (PARTS_Y[1], "F", ("4 D²", "4 D²")),
    ):
        above = y + 0.65
        write(axes, (2.7, above), "(B, T, D)")
        write(axes, (4.75, above), f"(B, T, {inner})")
        write(axes, (7.35, above), "(B, T, D)" if inner == "3D" else "(B, T, F)")
        write(axes, (9.6, above), "(B, T, D)")
        for x, count in zip((FIRST_X, LAST_X), entries, strict=True):
            write(axes, (x, y - 0.62), count, color=BLUE, fontweight="bold")
    write(axes, (CORE_X, PARTS_Y[0] - 0.62), "(B, H, T, K)", color=ORANGE, fontweight="bold")
    write(axes, (5.0, 2.74), "the stream: only ever added to", color=GREY)
    write(axes, (5.0, 0.2), "L such blocks, 12 D² weights each", color=GREY)
    return figure
