"""The checks of lab 12: a ladder of models, the law through it, and the run that it foretells.

    steps_for_budget(flops, num_layers, d_model, vocab_size, batch_tokens) -> int
        Whole steps that C = 6 N D pays for; N counts the matrices of the blocks and the head.
    ladder_objective(E, A, alpha, budgets, losses, delta) -> float
        The sum over runs of Huber's loss of log(E + A x^-alpha) - log(measured loss).
    forecast            ladder: the five rungs' losses; said: the sixth's loss, low and high
    sixth               a run handed in (grade/runs.py), with the prediction in its name
    optimal_parameters(flops, A, B, alpha, beta) -> float
        N of the least loss E + A / N^alpha + B / D^beta with 6 N D = flops.
    gpt3                found: three numbers about GPT-3 by a published law (published.py)

Each check of a function takes it; with hidden=True, for grading after the check without it, it
tries other numbers.
"""

from collections.abc import Callable

from course_lib.config import RunConfig
from course_lib.grade.handed_in import Answers
from course_lib.grade.mistakes import check_formula
from course_lib.grade.runs import check_run, claims
from course_lib.grade.scaling_laws import formulas
from course_lib.grade.scaling_laws.case import (
    BESIDE,
    FIRST_FLOPS,
    LADDER,
    NOISE,
    SIXTH,
    ladder_runs,
    parameters,
    run_of,
)
from course_lib.grade.scaling_laws.foretold import (
    judge_forecast,
    judge_sixth,
    name_of,
    wanted_sixth,
)
from course_lib.grade.scaling_laws.hints import LAB
from course_lib.grade.scaling_laws.published import judge_gpt3

__all__ = ["BESIDE", "FIRST_FLOPS", "LADDER", "NOISE", "SIXTH", "ladder_runs", "parameters"]

ANSWERS = Answers(
    file="answers_12.json",
    wanted={"forecast": {"ladder": dict, "said": dict}, "gpt3": {"found": dict}},
)

hint = LAB.hint
hand_in = ANSWERS.write


def check_steps_for_budget(
    function: Callable[[float, int, int, int, int], int],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check the steps that a budget pays for.

    Raises:
        CheckFailed: says what is wrong; so does each check below.
    """
    check_formula(
        LAB,
        "steps_for_budget",
        function,
        formulas.STEPS_HIDDEN if hidden else formulas.STEPS_INPUTS,
        formulas.steps_for_budget,
        formulas.STEPS_MISTAKES,
        formulas.show_steps,
        "right for four models, from 8 thousand parameters to GPT-3's shape.",
        hidden=hidden,
        limit_s=limit_s,
    )


def check_ladder_objective(
    function: Callable[[float, float, float, list[float], list[float], float], float],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check what a fit of the ladder's law minimises."""
    check_formula(
        LAB,
        "ladder_objective",
        function,
        formulas.OBJECTIVE_HIDDEN if hidden else formulas.OBJECTIVE_INPUTS,
        formulas.ladder_objective,
        formulas.OBJECTIVE_MISTAKES,
        formulas.show_objective,
        "right for laws that are too high, too low, and within delta.",
        hidden=hidden,
        limit_s=limit_s,
    )


def check_optimal_parameters(
    function: Callable[[float, float, float, float, float], float],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check the compute-optimal size of a model."""
    check_formula(
        LAB,
        "optimal_parameters",
        function,
        formulas.OPTIMAL_HIDDEN if hidden else formulas.OPTIMAL_INPUTS,
        formulas.optimal_parameters,
        formulas.OPTIMAL_MISTAKES,
        formulas.show_optimal,
        "the least loss for three laws and budgets.",
        hidden=hidden,
        limit_s=limit_s,
    )


def check_forecast(*, hidden: bool = False) -> None:
    """Check the prediction that was handed in, against the ladder that it comes from."""

    def prove() -> str:
        answer = ANSWERS.read("forecast")
        return judge_forecast(answer["ladder"], answer["said"])

    LAB.judge("forecast", prove, hidden=hidden)


def sixth_run() -> RunConfig:
    """Return the sixth run, with the prediction that was handed in as its name.

    Raises:
        CheckFailed: nothing was handed in, or it does not follow from the ladder.
    """
    answer = ANSWERS.read("forecast")
    judge_forecast(answer["ladder"], answer["said"])
    return run_of(name_of(answer["said"]), *SIXTH)


def check_sixth(*, hidden: bool = False) -> None:
    """Check the sixth run: is it the one that was asked for, and was it foretold?

    Raises:
        CheckFailed: says what is wrong.
        NotGradable: while grading, accounting cannot be asked.
    """

    def prove() -> str:
        proved = check_run("sixth", wanted_sixth())
        said = ANSWERS.read("forecast")["said"]
        return f"{proved} {judge_sixth(*claims('sixth'), said)}"

    LAB.judge("sixth", prove, hidden=hidden)


def check_gpt3(*, hidden: bool = False) -> None:
    """Check three numbers about GPT-3, read off a published law."""
    LAB.judge("gpt3", lambda: judge_gpt3(ANSWERS.read("gpt3")["found"]), hidden=hidden)
