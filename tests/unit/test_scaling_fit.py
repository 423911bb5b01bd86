"""The fit finds planted constants, ends in a minimum, and says what it cannot tell apart."""

import numpy as np
import pytest

from course_lib.plan.scaling import (
    BESIROGLU_2024,
    HOFFMANN_2022,
    HOFFMANN_2022_ROUNDED,
    ScalingLaw,
    compute_optimal,
)
from course_lib.plan.scaling_fit import CONSTANTS, bootstrap, fit_chinchilla

SMALL = ScalingLaw(A=60.0, B=900.0, E=1.2, alpha=0.42, beta=0.51)
"""As models of a class might be: their runs are thousands of times smaller."""
SIZES = {
    "published": (BESIROGLU_2024, 5e7, 1.6e10, 1e9, 3e11),
    "uneven": (HOFFMANN_2022, 5e7, 1.6e10, 1e9, 3e11),
    "class": (SMALL, 2e4, 3e6, 3e5, 1e8),
}


def planted(case: str, count: int, *, noise: float = 0.0, seed: int = 0):
    """Return a law and runs that follow it, with parameters and tokens drawn apart."""
    law, n_low, n_high, d_low, d_high = SIZES[case]
    rng = np.random.default_rng(seed)
    n = np.exp(rng.uniform(np.log(n_low), np.log(n_high), count))
    d = np.exp(rng.uniform(np.log(d_low), np.log(d_high), count))
    return law, n, d, law.loss(n, d) * np.exp(noise * rng.standard_normal(count))


def constants(law: ScalingLaw) -> list[float]:
    return [getattr(law, name) for name in CONSTANTS]


def huber(theta, n, d, losses, delta=1e-3):
    """The paper's sum, written a second time: theta = (log A, log B, log E, alpha, beta)."""
    a, b, e, alpha, beta = theta
    off = np.abs(np.log(np.exp(a) / n**alpha + np.exp(b) / d**beta + np.exp(e)) - np.log(losses))
    return np.sum(np.where(off < delta, off**2 / 2, delta * off - delta**2 / 2))


def theta_of(law: ScalingLaw):
    return np.array([np.log(law.A), np.log(law.B), np.log(law.E), law.alpha, law.beta])


def steps(n, d):
    """Return random steps around a law, so that log N and log D are moved at their middle."""
    rng = np.random.default_rng(1)
    around = rng.standard_normal((4000, 5)) * 10 ** rng.uniform(-7, 0, (4000, 1))
    around[:, 0] += around[:, 3] * np.mean(np.log(n))
    around[:, 1] += around[:, 4] * np.mean(np.log(d))
    return around


@pytest.mark.parametrize("case", SIZES)
@pytest.mark.parametrize("count", [12, 60])
def test_exact_runs_give_the_planted_constants(case, count):
    law, n, d, losses = planted(case, count)
    fit = fit_chinchilla(n, d, losses)
    assert constants(fit.law) == pytest.approx(constants(law), rel=1e-5)
    assert fit.mean_error < 1e-8 and fit.starts_that_agree > 0.5


@pytest.mark.parametrize("case", SIZES)
def test_noisy_runs_give_nearly_the_planted_law(case):
    law, n, d, losses = planted(case, 240, noise=0.005)
    fit = fit_chinchilla(n, d, losses)
    # No worse by its own measure than the truth, and much nearer to it than a run is.
    assert fit.objective <= huber(theta_of(law), n, d, losses)
    assert fit.law.loss(n, d) == pytest.approx(law.loss(n, d), rel=0.004)
    assert fit.law.alpha == pytest.approx(law.alpha, rel=0.15)
    assert fit.law.beta == pytest.approx(law.beta, rel=0.15)
    assert fit.objective == pytest.approx(huber(theta_of(fit.law), n, d, losses))
    assert fit.mean_error == pytest.approx(np.mean(np.abs(fit.law.loss(n, d) / losses - 1)))


@pytest.mark.parametrize("case", SIZES)
@pytest.mark.parametrize("noise", [0.0005, 0.005, 0.05])
def test_it_ends_in_a_minimum(case, noise):
    _, n, d, losses = planted(case, 120, noise=noise, seed=3)
    fit = fit_chinchilla(n, d, losses)
    found = theta_of(fit.law)
    around = [huber(found + step, n, d, losses) for step in steps(n, d)]
    assert min(around) >= fit.objective * (1 - 1e-12)
    for axis in np.eye(5):
        ahead, behind = (huber(found + h * axis, n, d, losses) for h in (1e-6, -1e-6))
        slope = (ahead - behind) / 2e-6
        # What the pulls of the runs would add up to if they did not cancel.
        pulls = np.max(np.log(n)) * 1e-3 * len(n)
        assert abs(slope) < 1e-6 * pulls


def test_the_search_for_a_better_neighbour_finds_one_where_there_is():
    _, n, d, losses = planted("published", 120, noise=0.005)
    for law in (HOFFMANN_2022_ROUNDED, fit_chinchilla(n, d, losses, delta=1.0).law):
        here = huber(theta_of(law), n, d, losses)
        assert min(huber(theta_of(law) + step, n, d, losses) for step in steps(n, d)) < here


def test_a_few_bad_runs_do_not_pull():
    law, n, d, losses = planted("published", 120, noise=0.001)
    losses[::20] *= 1.3
    robust, squares = fit_chinchilla(n, d, losses), fit_chinchilla(n, d, losses, delta=10.0)
    off = [np.mean(np.abs(f.law.loss(n, d) / law.loss(n, d) - 1)) for f in (robust, squares)]
    assert off[0] < 1e-3 < off[1] / 5


def test_neither_order_nor_units_matter():
    _, n, d, losses = planted("published", 80, noise=0.003)
    law = fit_chinchilla(n, d, losses).law
    order = np.random.default_rng(0).permutation(80)
    assert constants(fit_chinchilla(n[order], d[order], losses[order]).law) == pytest.approx(
        constants(law), rel=1e-5
    )
    millions = fit_chinchilla(n / 1e6, d / 1e6, losses).law
    assert (millions.alpha, millions.beta, millions.E) == pytest.approx(
        (law.alpha, law.beta, law.E), rel=1e-5
    )
    assert millions.A * 1e6**law.alpha == pytest.approx(law.A, rel=1e-4)


def test_intervals_hold_the_truth_and_narrow_with_the_noise():
    law, n, d, losses = planted("published", 120, noise=0.004)
    resampled = bootstrap(fit_chinchilla(n, d, losses), resamples=100)
    for name in CONSTANTS:
        low, high = resampled.interval(name, level=0.99)
        assert low < getattr(law, name) < high
        inner_low, inner_high = resampled.interval(name, level=0.5)
        assert low < inner_low < inner_high < high
    low, high = resampled.interval(lambda law: compute_optimal(law, 1e24).tokens_per_parameter)
    assert low < compute_optimal(law, 1e24).tokens_per_parameter < high
    _, n, d, losses = planted("published", 120, noise=0.0004)
    less = bootstrap(fit_chinchilla(n, d, losses), resamples=100).interval("alpha")
    more = resampled.interval("alpha")
    assert less[1] - less[0] < (more[1] - more[0]) / 4


def test_a_resample_s_law_is_what_a_fit_of_those_runs_from_all_starts_gives():
    _, n, d, losses = planted("class", 60, noise=0.005)
    resampled = bootstrap(fit_chinchilla(n, d, losses), resamples=5, seed=7)
    assert [constants(law) for law in resampled.laws] == [
        constants(law) for law in bootstrap(fit_chinchilla(n, d, losses), resamples=5, seed=7).laws
    ]
    draws = np.random.default_rng(7).multinomial(60, np.full(60, 1 / 60), 5)
    for times, law in zip(draws, resampled.laws, strict=True):
        again = fit_chinchilla(np.repeat(n, times), np.repeat(d, times), np.repeat(losses, times))
        assert constants(law) == pytest.approx(constants(again.law), rel=1e-4)


GRID_N, GRID_D = (a.ravel() for a in np.meshgrid([1e6, 3e6, 1e7, 1e8], [1e8, 1e9, 3e9, 1e10]))
LOSS = BESIROGLU_2024.loss(GRID_N, GRID_D)


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ((GRID_N[:5], GRID_D[:5], LOSS[:5]), "5 runs for 5 constants: at least 6"),
        ((GRID_N, GRID_D, LOSS[:-1]), r"shapes \(16,\), \(16,\) and \(15,\)"),
        ((GRID_N[None], GRID_D[None], LOSS[None]), "three lists"),
        ((GRID_N, GRID_D, np.where(GRID_N == 1e8, np.nan, LOSS)), r"losses\[3\] is nan"),
        ((GRID_N, -GRID_D, LOSS), r"tokens\[0\] is -1e\+08"),
        ((np.where(GRID_N > 5e6, 1e7, 1e6), GRID_D, LOSS), "only 2 .* parameters: A, alpha and E"),
        ((GRID_N, np.full(16, 1e9), LOSS), "only 1 .* tokens: B, beta and E"),
        ((GRID_N, 20 * GRID_N, LOSS), "change together.*vary one with the other fixed"),
        ((GRID_N, GRID_D, LOSS[::-1]), "(alpha|beta) ran to .*does not fall"),
    ],
)
def test_runs_that_no_law_can_be_fitted_to(runs, says):
    with pytest.raises(ValueError, match=says):
        fit_chinchilla(*runs)


def test_questions_that_have_no_answer():
    _, n, d, losses = planted("published", 20)
    fit = fit_chinchilla(n, d, losses)
    with pytest.raises(ValueError, match="1 resamples have no spread"):
        bootstrap(fit, resamples=1)
    resampled = bootstrap(fit, resamples=2)
    with pytest.raises(ValueError, match="a law has no 'gamma': ask for A, B, E"):
        resampled.interval("gamma")
    with pytest.raises(ValueError, match="level is 95"):
        resampled.interval("alpha", level=95)
    with pytest.raises(ValueError, match="delta is 0"):
        fit_chinchilla(n, d, losses, delta=0.0)
