"""What lab 12 says and asks for is what the plan says, and what its runs were measured to do."""

import pytest

from course_lib.grade.checks import CheckFailed
from course_lib.grade.scaling_laws import (
    BESIDE,
    FIRST_FLOPS,
    LADDER,
    SIXTH,
    formulas,
    ladder_runs,
    parameters,
    run_of,
)
from course_lib.grade.scaling_laws.case import BATCH_TOKENS
from course_lib.grade.scaling_laws.foretold import BAND, BUDGETS, SIXTH_BUDGET, judge_forecast
from course_lib.grade.scaling_laws.published import PARAMETERS, TOKENS, right_numbers
from course_lib.plan.counts import matmul_parameters
from course_lib.plan.ladder_fit import fit_ladder
from course_lib.plan.scaling import BESIROGLU_2024, PUBLISHED, compute_optimal

MEASURED = {
    1234: ([3.8612, 3.7254, 3.6938, 3.6150, 3.5661], 3.4825),
    2: ([3.8460, 3.7374, 3.6768, 3.5961, 3.5449], 3.4805),
    3: ([3.8561, 3.7287, 3.6556, 3.6155, 3.5624], 3.4903),
}
"""By seed: held-out loss of each rung, and of the sixth; torch 2.13.0, a core each."""


@pytest.mark.parametrize("seed", MEASURED)
def test_a_fit_is_within_the_band_and_a_guess_is_refused_before_the_run(seed: int) -> None:
    losses, sixth = MEASURED[seed]
    ladder = dict(zip(LADDER, losses, strict=True))
    foretold = float(fit_ladder(BUDGETS, losses).loss(SIXTH_BUDGET))
    assert abs(sixth / foretold - 1) < 2 / 3 * BAND
    said = {"loss": foretold, "low": foretold - 0.04, "high": foretold + 0.04}
    assert "the ladder's law gives" in judge_forecast(ladder, said)
    for guess in (losses[-1], losses[-1] * 0.99, sixth * 1.03):
        with pytest.raises(CheckFailed, match="the law through your ladder says"):
            judge_forecast(ladder, said | {"loss": guess})


def test_parameters_are_those_of_the_plan_and_steps_spend_the_budget() -> None:
    sizes = LADDER | BESIDE
    for name, run in ladder_runs().items():
        d_model, budget = sizes[name]
        assert parameters(d_model) == matmul_parameters(run.model)
        assert parameters(d_model) == formulas.parameters(1, d_model, run.model.vocab_size)
        spent = 6 * parameters(d_model) * run.train.steps * BATCH_TOKENS
        assert 0.99 < spent / (budget * FIRST_FLOPS) <= 1
    assert run_of("sixth", *SIXTH).model == ladder_runs()["rung_1"].model
    assert parameters(BESIDE["small"][0]) == pytest.approx(parameters(SIXTH[0]) / 2, rel=0.02)
    assert parameters(BESIDE["large"][0]) == pytest.approx(parameters(SIXTH[0]) * 4, rel=0.1)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_best_size_is_the_plan_s(name: str) -> None:
    law = PUBLISHED[name]
    for flops in (1e18, 3.15e23):
        taught = formulas.optimal_parameters(flops, law.A, law.B, law.alpha, law.beta)
        assert taught == pytest.approx(float(compute_optimal(law, flops).parameters), rel=1e-12)


def test_what_is_said_of_gpt_3_follows_from_the_law() -> None:
    right = right_numbers()
    best = compute_optimal(BESIROGLU_2024, 6 * PARAMETERS * TOKENS)
    assert right["optimal_parameters"] == pytest.approx(float(best.parameters), rel=1e-12)
    assert right["optimal_tokens"] == pytest.approx(float(best.tokens), rel=1e-12)
    larger = compute_optimal(BESIROGLU_2024, 6 * PARAMETERS * right["tokens_for_175b"])
    assert float(larger.parameters) == pytest.approx(PARAMETERS, rel=1e-9)
    assert right["tokens_for_175b"] / TOKENS == pytest.approx(10.3, abs=0.05)
