"""Valleys and the power laws through their minima, and the figures of scaling laws."""

import numpy as np
import pytest

from course_lib.plan.isoflop import isoflop_law, isoflop_valley, power_law
from course_lib.plan.scaling import BESIROGLU_2024, HOFFMANN_2022, compute_optimal
from course_lib.plots import png_bytes
from course_lib.plots_scaling import isoflop_figure, scaling_law_figure

SIZES = np.array([1e6, 2e6, 5e6, 1e7, 3e7])
BUDGETS = (1e19, 1e20, 1e21, 1e22)


def runs_at(law, budget, *, reach):
    """Return sizes to both sides of the optimum, up to `reach` times, and their losses."""
    n = compute_optimal(law, budget).parameters * np.geomspace(1 / reach, reach, 9)
    return n, law.loss(n, budget / (6 * n))


def test_a_parabola_is_found_again():
    losses = 3.0 + 0.2 * np.log(SIZES / 4e6) ** 2
    valley = isoflop_valley(SIZES[::-1], losses[::-1], flops=6e15)
    assert (valley.parameters, valley.loss) == pytest.approx((4e6, 3.0))
    assert valley.curvature == pytest.approx(0.2) and valley.worst_residual < 1e-12
    assert valley.tokens == pytest.approx(6e15 / (6 * 4e6))
    assert valley.at(SIZES) == pytest.approx(losses)
    exact = isoflop_valley(SIZES, losses, flops=6e15, flops_per_token=8 * SIZES)
    assert exact.tokens == pytest.approx(6e15 / (8 * 4e6))


@pytest.mark.parametrize("law", [BESIROGLU_2024, HOFFMANN_2022], ids=["equal", "uneven"])
def test_minima_follow_the_power_law_of_equation_4(law):
    # A and B terms shrink alike along the optimum, so that each valley has the same shape.
    exponent = law.beta / (law.alpha + law.beta)
    for reach, bias in ((1.2, 0.002), (10.0, 0.25)):
        valleys = [isoflop_valley(*runs_at(law, c, reach=reach), flops=c) for c in BUDGETS]
        found = isoflop_law(valleys)
        assert found.parameters.exponent == pytest.approx(exponent, abs=1e-6)
        assert found.tokens.exponent == pytest.approx(1 - exponent, abs=1e-6)
        ratio = found.optimal(1e21).parameters / compute_optimal(law, 1e21).parameters
        assert abs(np.log(ratio)) < bias
    # Where beta is the smaller one the wide parabola is visibly off, though its exponent is not.
    assert law is BESIROGLU_2024 or abs(np.log(ratio)) > 0.01


def test_sizes_that_do_not_move_with_the_budget_bend_the_exponent():
    fixed = np.geomspace(1e8, 5e9, 9)
    valleys = [
        isoflop_valley(fixed, HOFFMANN_2022.loss(fixed, c / (6 * fixed)), flops=c)
        for c in BUDGETS[1:3]
    ]
    exponent = HOFFMANN_2022.beta / (HOFFMANN_2022.alpha + HOFFMANN_2022.beta)
    assert abs(isoflop_law(valleys).parameters.exponent - exponent) > 0.005


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: isoflop_valley(SIZES[:2], [3, 3], flops=1e18), "2 model size.*takes 3"),
        (lambda: isoflop_valley(SIZES, [3, 3], flops=1e18), r"shapes \(5,\) and \(2,\)"),
        (lambda: isoflop_valley(SIZES, [3, 4, 5, 4, 3], flops=1e18), "no valley, they bend down"),
        (
            lambda: isoflop_valley(SIZES, 3 + np.log(SIZES / 1e8) ** 2, flops=1e18),
            r"at 1e\+08 parameters, outside .*1e\+06 to 3e\+07.*run larger models",
        ),
        (
            lambda: isoflop_valley(SIZES, 3 + np.log(SIZES / 1e5) ** 2, flops=1e18),
            "run smaller models",
        ),
        (lambda: isoflop_valley(SIZES, [3, 2, 1, 2, 0], flops=1e18), r"losses\[4\] is 0"),
        (
            lambda: isoflop_valley(SIZES, [3, 2, 1, 2, 3], flops=1e18, flops_per_token=[1.0]),
            "flops_per_token has shape",
        ),
        (lambda: power_law([1e18], [1e8]), "2 different x"),
        (lambda: power_law([1e18, 1e19], [1e8]), "one y for each x"),
    ],
)
def test_runs_without_a_valley(call, says):
    with pytest.raises(ValueError, match=says):
        call()


RUNS = {c: runs_at(BESIROGLU_2024, c, reach=5) for c in BUDGETS}


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}


def test_the_law_s_figure_shows_runs_lines_and_minima():
    figure = scaling_law_figure(BESIROGLU_2024, RUNS, title="planted")
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("parameters N", "loss (nats per token)")
    assert axes.get_xscale() == "log" and axes.get_title(loc="left") == "planted"
    drawn = lines(axes)
    best = compute_optimal(BESIROGLU_2024, np.array(BUDGETS))
    assert drawn["the law's minimum"][:, 0] == pytest.approx(best.parameters)
    assert drawn["1e+21"] == pytest.approx(np.stack(RUNS[1e21], axis=1))
    dots = [line for line in axes.get_lines() if line.get_marker() not in ("None", "*")]
    assert len({line.get_marker() for line in dots}) == len(BUDGETS), "not by colour alone"
    curve = axes.get_lines()[0].get_xydata()  # the smallest budget's
    assert curve[np.argmin(curve[:, 1]), 0] == pytest.approx(best.parameters[0], rel=0.1)
    assert png_bytes(figure).startswith(b"\x89PNG")
    assert png_bytes(scaling_law_figure(BESIROGLU_2024, {1e20: ([], [])})).startswith(b"\x89PNG")


def test_the_valleys_figure_shows_minima_and_where_they_lead():
    valleys = [isoflop_valley(*RUNS[c], flops=c) for c in BUDGETS]
    figure = isoflop_figure(RUNS, valleys, isoflop_law(valleys))
    left, right = figure.axes
    assert (right.get_xlabel(), right.get_ylabel()) == (
        "training FLOPs C",
        "parameters N at the minimum",
    )
    stars = [line.get_xydata() for line in left.get_lines() if line.get_marker() == "*"]
    assert np.concatenate(stars) == pytest.approx(
        np.array([(v.parameters, v.loss) for v in valleys])
    )
    assert any(label.startswith("N = ") for label in lines(right))
    assert right.get_yscale() == "log"
    assert png_bytes(figure).startswith(b"\x89PNG")
    assert png_bytes(isoflop_figure({1e19: RUNS[1e19]}, [])).startswith(b"\x89PNG")


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="at least one budget"):
        scaling_law_figure(BESIROGLU_2024, {})
    valley = isoflop_valley(*RUNS[1e20], flops=1e20)
    with pytest.raises(ValueError, match="has no runs beside it"):
        isoflop_figure({1e19: RUNS[1e19]}, [valley])
