"""The figure of formats: where numbers lie, and from where to where each format reaches."""

import pytest
import torch

from course_lib.plots import png_bytes
from course_lib.plots_numbers import formats_figure

FORMATS = {
    "FP32": torch.float32,
    "BF16": torch.bfloat16,
    "FP16": torch.float16,
    "FP8 E5M2": torch.float8_e5m2,
    "FP8 E4M3": torch.float8_e4m3fn,
}


def test_bars_reach_from_the_smallest_to_the_largest_number_of_a_format():
    figure = formats_figure({"ones": torch.ones(4)}, FORMATS)
    _, below = figure.axes
    for bar, dtype in zip(below.patches, FORMATS.values(), strict=True):
        left, right = bar.get_x(), bar.get_x() + bar.get_width()
        if left > below.get_xlim()[0]:  # else it goes on to the left
            smallest = torch.tensor(10**left, dtype=torch.float64).to(dtype)
            smaller = torch.tensor(0.4 * 10**left, dtype=torch.float64).to(dtype)
            assert smallest.float() > 0 and smaller.float() == 0
        if right < below.get_xlim()[1]:
            assert 10**right == pytest.approx(torch.finfo(dtype).max)
    words = [text.get_text() for text in below.texts]
    assert words[2] == "FP16   6e-08 to 65,504" and words[4] == "FP8 E4M3   2e-03 to 448"


def test_all_numbers_but_zero_are_counted():
    numbers = torch.tensor([0.0, 1e-30, 1e-3, -1e-3, 1.0])
    above, below = formats_figure({"some": numbers, "more": 10 * numbers}, FORMATS).axes
    heights = [bar.get_height() for bar in above.patches]
    assert sum(heights[:80]) == pytest.approx(100) and sum(heights[80:]) == pytest.approx(100)
    assert max(heights) == pytest.approx(50)
    assert heights[0] == pytest.approx(25), "too small for the axis: at its left end"
    assert above.get_ylabel() == "share (%)" and "power of ten" in below.get_xlabel()
    assert png_bytes(above.figure)[:4] == b"\x89PNG"
