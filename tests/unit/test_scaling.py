"""What scaling laws say, and the budgets that follow from them."""

from dataclasses import dataclass

import numpy as np
import pytest

from course_lib.plan.scaling import (
    BESIROGLU_2024,
    HOFFMANN_2022,
    KAPLAN_2020,
    MUENNIGHOFF_2023,
    PF_DAY,
    PUBLISHED,
    DataLimited,
    ScalingLaw,
    compute_optimal,
    kaplan_optimal,
    overtrain,
)

BUDGETS = np.array([1e18, 1e21, 5.76e23, 1e26])


@dataclass(frozen=True)
class Searched:
    """A law whose form nobody knows, so that its optimum has to be searched."""

    law: ScalingLaw

    def loss(self, parameters, tokens):
        return self.law.loss(parameters, tokens)


def test_the_law_is_the_sum_of_its_terms():
    law = ScalingLaw(A=400.0, B=100.0, E=1.5, alpha=0.5, beta=0.25)
    assert law.loss(1e4, 1e4) == pytest.approx(1.5 + 4.0 + 10.0)
    assert str(law) == "L = 1.5 + 400 / N^0.500 + 100 / D^0.250"
    table = law.loss(np.array([1e4, 1e8])[:, None], np.array([1e4, 1e8, 1e12]))
    assert table.shape == (2, 3) and table[1, 2] == pytest.approx(1.5 + 0.04 + 0.1)


@pytest.mark.parametrize("name", PUBLISHED)
def test_closed_form_and_search_agree(name):
    law = PUBLISHED[name]
    closed, searched = compute_optimal(law, BUDGETS), compute_optimal(Searched(law), BUDGETS)
    assert searched.parameters == pytest.approx(closed.parameters, rel=1e-5)
    assert searched.tokens == pytest.approx(closed.tokens, rel=1e-5)
    assert 6 * closed.parameters * closed.tokens == pytest.approx(BUDGETS)
    for factor in (0.9, 1.1):
        moved = law.loss(closed.parameters * factor, closed.tokens / factor)
        assert np.all(moved > law.loss(*closed))


def test_published_optima():
    # Hoffmann 2022, section 3.3: 40 billion parameters for Gopher's budget.
    assert compute_optimal(HOFFMANN_2022, 5.76e23).parameters == pytest.approx(40e9, rel=0.03)
    # arXiv:2404.10102: consistent with the 20 tokens per parameter that trained Chinchilla.
    assert 15 < compute_optimal(BESIROGLU_2024, 5.76e23).tokens_per_parameter < 25
    assert kaplan_optimal(PF_DAY) == pytest.approx((1.3e9, 2e10))
    larger = kaplan_optimal(5.76e23).parameters / compute_optimal(BESIROGLU_2024, 5.76e23)[0]
    assert larger > 5


def test_an_exact_count_of_flops_moves_the_optimum():
    same = compute_optimal(BESIROGLU_2024, BUDGETS, flops_per_token=lambda n: 6 * n)
    closed = compute_optimal(BESIROGLU_2024, BUDGETS)
    assert same.parameters == pytest.approx(closed.parameters, rel=1e-5)

    def with_attention(n):
        return 6 * n + 1e3 * n ** (2 / 3)

    exact = compute_optimal(BESIROGLU_2024, 1e18, flops_per_token=with_attention)
    assert f"{exact.tokens:.2e}".endswith("e+09"), "a number, as it was one budget"
    assert exact.tokens * with_attention(exact.parameters) == pytest.approx(1e18)
    assert exact.tokens < compute_optimal(BESIROGLU_2024, 1e18).tokens

    with pytest.raises(ValueError, match="no minimum.*flops_per_token grows"):
        compute_optimal(BESIROGLU_2024, 1e18, flops_per_token=np.ones_like)


def test_a_smaller_model_reaches_the_same_loss_at_a_price():
    shrink = np.array([0.9, 0.5, 0.25])
    found = overtrain(BESIROGLU_2024, 1e23, shrink=shrink)
    assert BESIROGLU_2024.loss(found.parameters, found.tokens) == pytest.approx(found.loss)
    assert found.loss == pytest.approx(BESIROGLU_2024.loss(*found.optimal))
    assert found.parameters == pytest.approx(shrink * found.optimal.parameters)
    assert np.all(np.diff(found.extra) > 0) and 0 < found.extra[0] < 0.01
    served = found.break_even_tokens
    small = 6 * found.parameters * found.tokens + 2 * found.parameters * served
    large = 1e23 + 2 * found.optimal.parameters * served
    assert small == pytest.approx(large)


def test_what_is_too_small_never_gets_there():
    with pytest.raises(
        ValueError, match="never reach a loss of .*: that takes more than"
    ) as caught:
        overtrain(BESIROGLU_2024, 1e23, shrink=0.1)
    least = float(str(caught.value).split("more than ")[1].split(",")[0])
    loss = BESIROGLU_2024.loss(*compute_optimal(BESIROGLU_2024, 1e23))
    assert BESIROGLU_2024.tokens_for(1.01 * least, loss) > 0
    with pytest.raises(ValueError, match="below E = 1.817, for any model"):
        BESIROGLU_2024.tokens_for(1e12, 1.8)
    with pytest.raises(ValueError, match="a smaller model is below 1"):
        overtrain(BESIROGLU_2024, 1e23, shrink=1.2)


def test_repeated_data():
    limited = DataLimited(law=MUENNIGHOFF_2023, unique_tokens=1e9)
    # Once over the data, with no more parameters than it can use, is the law itself.
    assert limited.loss(1e7, 5e8) == pytest.approx(MUENNIGHOFF_2023.loss(1e7, 5e8))
    # Equation 17 of the paper: U_N = 0.051 U_D; beyond it parameters are worth less.
    assert limited.effective_parameters(0.0509e9, 1e9) == pytest.approx(0.0509e9)
    excess = 0.051e9 * (1 + 5.3 * (1 - np.exp(-9 / 5.3)))
    assert limited.effective_parameters(0.51e9, 1e9) == pytest.approx(excess, rel=2e-3)
    # In general: the parameters for which that many tokens are compute-optimal.
    optimal = compute_optimal(HOFFMANN_2022, 1e21)
    uneven = DataLimited(law=HOFFMANN_2022, unique_tokens=optimal.tokens, parameter_decay=1e-9)
    most = uneven.effective_parameters(100 * optimal.parameters, optimal.tokens)
    assert most == pytest.approx(optimal.parameters)
    epochs = np.array([1.0, 2, 4, 16, 64, 1000])
    worth = limited.effective_tokens(epochs * 1e9) / 1e9
    assert worth[0] == 1 and np.all(np.diff(worth) > 0) and np.all(worth <= epochs)
    assert worth[-1] == pytest.approx(1 + 15.387756)
    # Up to four epochs are nearly as good as new tokens (the paper's abstract).
    assert limited.loss(5e7, 4e9) == pytest.approx(MUENNIGHOFF_2023.loss(5e7, 4e9), rel=5e-3)
    assert limited.loss(5e7, 1e12) > 1.01 * MUENNIGHOFF_2023.loss(5e7, 1e12)


def test_with_few_tokens_a_budget_goes_into_epochs_more_than_into_parameters():
    limited = DataLimited(law=MUENNIGHOFF_2023, unique_tokens=1e9)
    plenty = DataLimited(law=MUENNIGHOFF_2023, unique_tokens=1e15)
    flops = np.array([1e19, 1e21])
    free, few = compute_optimal(MUENNIGHOFF_2023, flops), compute_optimal(limited, flops)
    assert np.all(few.tokens_per_parameter > free.tokens_per_parameter)
    assert np.all(limited.loss(*few) > MUENNIGHOFF_2023.loss(*free))
    enough = compute_optimal(plenty, flops)
    assert enough.parameters == pytest.approx(free.parameters, rel=1e-4)


def test_kaplan_s_law_has_his_limits():
    n, d = 1e9, 1e10
    assert KAPLAN_2020.loss(n, 1e30) == pytest.approx((6.4e13 / n) ** 0.076)
    assert KAPLAN_2020.loss(1e40, d) == pytest.approx((1.8e13 / d) ** 0.103, rel=1e-6)
    assert KAPLAN_2020.loss(n, d) > max(KAPLAN_2020.loss(n, 1e30), KAPLAN_2020.loss(1e40, d))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: HOFFMANN_2022.loss([1e6, 0], 1e9), r"parameters\[1\] is 0"),
        (lambda: HOFFMANN_2022.loss(1e6, float("nan")), "tokens is nan.*diverged"),
        (lambda: compute_optimal(HOFFMANN_2022, -1.0), "flops is -1"),
        (lambda: ScalingLaw(A=1.0, B=1.0, E=1.0, alpha=-0.1, beta=0.3), "alpha is -0.1"),
        (lambda: ScalingLaw(A=1.0, B=1.0, E=-1.0, alpha=0.1, beta=0.3), "E is -1"),
        (lambda: DataLimited(law=HOFFMANN_2022, unique_tokens=0.0), "unique_tokens is 0"),
    ],
)
def test_what_cannot_be(call, says):
    with pytest.raises(ValueError, match=says):
        call()
