"""The bits of six number formats: how far each reaches and how fine it is.

A sign, e bits of exponent and m bits of fraction. The largest number is (2 - 2^-m) 2^(2^(e-1) - 1),
the next after 1 is 1 + 2^-m. E4M3 gives no codes to infinity and only one to "not a number", so it
reaches one exponent further. FP32 and FP16: IEEE 754; TF32: NVIDIA's A100 whitepaper; FP8:
Micikevicius et al. 2022 (arXiv:2209.05433), Table 1; BF16: 16 bits with FP32's exponent.
"""

from typing import Any, NamedTuple

from matplotlib.figure import Figure

from slides.figures.style import BLUE, GREY, INK, ORANGE
from slides.shapes import cell, new_sheet, write

ALT = (
    "Rows of cells, one a bit: FP32 has 8 bits of exponent and 23 of fraction, TF32 8 and 10, BF16 "
    "8 and 7, FP16 5 and 10, FP8 4 and 3 or 5 and 2. BF16 reaches as far as FP32, FP16 only to "
    "65504, E4M3 to 448."
)
SOURCE = (
    "IEEE 754; NVIDIA A100 whitepaper (TF32); Micikevicius et al. 2022 (arXiv:2209.05433), Table 1"
)


class Format(NamedTuple):
    """How many bits, and whether the highest exponent is kept for infinity."""

    name: str
    exponent: int
    fraction: int
    infinity: bool = True

    @property
    def largest(self) -> float:
        """The largest finite number."""
        bias = 2 ** (self.exponent - 1) - 1
        if self.infinity:
            return (2 - 2.0**-self.fraction) * 2.0**bias
        return (2 - 2 * 2.0**-self.fraction) * 2.0 ** (bias + 1)


FORMATS = (
    Format("FP32", 8, 23),
    Format("TF32", 8, 10),
    Format("BF16", 8, 7),
    Format("FP16", 5, 10),
    Format("FP8 E4M3", 4, 3, infinity=False),
    Format("FP8 E5M2", 5, 2),
)
LEFT, WIDTH, HEIGHT = 1.55, 0.195, 0.46
LARGEST_X, STEP_X = 8.95, 10.45


def in_words(number: float) -> str:
    """Return a number as one would write it on a board."""
    if number < 1e6:
        return f"{number:,.0f}"
    mantissa, exponent = f"{number:.1e}".split("e+")
    return f"{mantissa} x $\\mathdefault{{10^{{{exponent}}}}}$"


def draw() -> Figure:
    figure, axes = new_sheet()
    bold: dict[str, Any] = {"fontweight": "bold"}
    write(axes, (LEFT + 0.1, 4.8), "sign", color=GREY, ha="right", **bold)
    write(axes, (LEFT + 5 * WIDTH, 4.8), "exponent", color=ORANGE, **bold)
    write(axes, (LEFT + 20 * WIDTH, 4.8), "fraction", color=BLUE, **bold)
    write(axes, (LARGEST_X, 4.8), "largest", **bold)
    write(axes, (STEP_X, 4.8), "next after 1", **bold)
    for row, each in enumerate(FORMATS):
        bottom = 3.95 - 0.75 * row
        middle = bottom + HEIGHT / 2
        fills = [GREY] + [ORANGE] * each.exponent + [BLUE] * each.fraction
        for bit, fill in enumerate(fills):
            cell(axes, (LEFT + bit * WIDTH, bottom), (WIDTH, HEIGHT), fill=fill)
        write(axes, (0.1, middle), each.name, ha="left", **bold)
        starts = ((1, each.exponent), (1 + each.exponent, each.fraction))
        for (start, count), fill in zip(starts, (ORANGE, BLUE), strict=True):
            patch = {"facecolor": fill, "edgecolor": "none", "pad": 2}
            x = LEFT + (start + count / 2) * WIDTH
            write(axes, (x, middle), str(count), color="white", bbox=patch, **bold)
        write(axes, (LARGEST_X, middle), in_words(each.largest), color=INK)
        write(axes, (STEP_X, middle), f"1 + $\\mathdefault{{2^{{-{each.fraction}}}}}$", color=INK)
    return figure
