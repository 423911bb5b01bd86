"""A mistake is known by its numbers: one slip, two together, or none that is known."""

import math

import numpy as np
import pytest
import torch

from course_lib.grade.checks import CheckFailed
from course_lib.grade.slips import (
    added,
    forgotten,
    number_words,
    plain_number,
    scaled,
    wrong_numbers,
)

CASES = [(2, 3), (5, 7), (1, 4)]
RIGHT = [2.0 * a * b for a, b in CASES]
SLIPS = [
    forgotten("is the edge missing?", lambda a, b: b),
    added("the corner is counted twice", lambda a, b: 1),
    scaled("half of it", lambda a, b: 0.5),
]


def said(results: list[float]) -> str | None:
    return wrong_numbers(results, RIGHT, CASES, SLIPS, ("a", "b"))


def test_right_numbers_are_right_whatever_their_type() -> None:
    assert said(RIGHT) is None
    assert said([int(number) for number in RIGHT]) is None
    assert said([number * (1 + 1e-13) for number in RIGHT]) is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            lambda a, b: 2 * a * b - b,
            "with a=2, b=3 your function returned 9. That is 3 too little: is the edge",
        ),
        (lambda a, b: 2 * a * b + 1, "returned 13. That is 1 too much: the corner is counted"),
        (lambda a, b: a * b, "returned 6. That is 2x too small: half of it"),
        (lambda a, b: a * b + 1, "the corner is counted twice. And: half of it"),
        (lambda a, b: a * b - b, "is the edge missing? And: half of it"),
        (lambda a, b: (2 * a * b - b) / 2, "is the edge missing? And: half of it"),
        (lambda a, b: 0, "returned 0. That is 12 too little"),
        (lambda a, b: -2 * a * b, "returned -12. That is -1 times what is right"),
        (lambda a, b: a + b, "returned 5. That is 2.4x too small"),
        (lambda a, b: a * b * 86_400, "That is 43,200x too large"),
    ],
)  # fmt: skip
def test_slips_are_named(wrong, words: str) -> None:
    found = said([wrong(*case) for case in CASES])
    assert found is not None and (found.endswith(words) or words in found)
    known = "corner" in words or "edge" in words or "half" in words
    assert (": " in found) == known


def test_a_slip_must_explain_every_case() -> None:
    found = said([RIGHT[0] + 1, *RIGHT[1:]])
    assert found == "with a=2, b=3 your function returned 13. That is 1 too much"
    found = said([*RIGHT[:2], RIGHT[2] - 4])
    assert found == "with a=1, b=4 your function returned 4. That is 2x too small"


@pytest.mark.parametrize(
    "value", [3, 3.0, np.int64(3), np.float32(3), torch.tensor(3), torch.tensor(3.0)]
)
def test_numbers_of_every_kind_are_taken(value) -> None:
    assert plain_number(value) == 3 and type(plain_number(value)) in (int, float)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "None: it must end with return"),
        (True, "an object of type bool"),
        ("3", "an object of type str"),
        ([3], "an object of type list"),
        (np.array([3]), "an object of type ndarray"),
        (math.nan, "no finite number"),
        (-math.inf, "no finite number"),
        (10**4000, "far too large"),
    ],
)
def test_what_is_no_number_is_named(value, words: str) -> None:
    with pytest.raises(CheckFailed, match=words):
        plain_number(value)


def test_numbers_are_written_for_people() -> None:
    assert [number_words(n) for n in (1_071_872, 3.27e23, 0.25, 34.0, 6e-5)] == [
        "1,071,872",
        "3.27e+23",
        "0.25",
        "34",
        "6e-05",
    ]
