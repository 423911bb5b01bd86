"""Steps of the published runs: FLOPs by the paper's equation, seconds by its measured rate."""

import pytest

from course_lib.plan.published import NARAYANAN_2021

STEPS_S = (3.528, 3.697, 3.696, 9.399, 14.454, 16.058, 24.817, 37.614, 54.085, 102.63)
"""Computed once from equation (3) and the table, in another program."""


def test_seconds_of_a_step() -> None:
    assert [row.step_s for row in NARAYANAN_2021] == pytest.approx(STEPS_S, rel=1e-3)


def test_replicas() -> None:
    assert [row.dp for row in NARAYANAN_2021] == [32, 32, 32, 32, 32, 32, 24, 15, 9, 6]
