"""GPT-3 held against a published law: three numbers that learners read off it."""

import math
from collections.abc import Callable, Mapping

from course_lib.grade.checks import CheckFailed
from course_lib.grade.scaling_laws.formulas import optimal_parameters
from course_lib.plan.scaling import BESIROGLU_2024, HOFFMANN_2022, HOFFMANN_2022_ROUNDED, ScalingLaw

PARAMETERS, TOKENS = 175e9, 300e9
"""Of GPT-3: Brown et al. 2020 (arXiv:2005.14165), table 2.1."""
FLOPS = 6 * PARAMETERS * TOKENS
TOLERANCE = 0.02
NAMES = {
    "optimal_parameters": "N of the least loss for GPT-3's budget",
    "optimal_tokens": "the tokens that go with it",
    "tokens_for_175b": "the tokens with which 175 billion parameters would be the best choice",
}


def right_numbers(law: ScalingLaw = BESIROGLU_2024) -> dict[str, float]:
    """Return the three numbers by a law."""
    constants = law.A, law.B, law.alpha, law.beta
    n = optimal_parameters(FLOPS, *constants)
    # N = G (N D)^(beta / (alpha + beta)), solved for D where N is GPT-3's.
    balance = optimal_parameters(6.0, *constants)
    product = (PARAMETERS / balance) ** ((law.alpha + law.beta) / law.beta)
    return {
        "optimal_parameters": n,
        "optimal_tokens": FLOPS / (6 * n),
        "tokens_for_175b": product / PARAMETERS,
    }


def judge_gpt3(found: Mapping[str, float]) -> str:
    """Return what the three numbers say, or raise what is wrong."""
    if set(found) != set(NAMES):
        odd = [name for name in found if name not in NAMES]
        missing = [name for name in NAMES if name not in found]
        what = f"there is no {odd[0][:30]!r}" if odd else f"{' and '.join(missing)} missing"
        raise CheckFailed(f"three numbers are wanted, {', '.join(NAMES)}: {what}")
    right = right_numbers()
    for name, number in found.items():
        if not _near(number, right[name]):
            raise CheckFailed(f"{name}, {NAMES[name]}: {_why(name, number, right)}")
    ratio = right["tokens_for_175b"] / TOKENS
    return (
        f"by this law GPT-3's budget was worth {right['optimal_parameters'] / 1e9:.0f} billion "
        f"parameters and {right['optimal_tokens'] / 1e9:,.0f} billion tokens; its 175 billion "
        f"wanted {ratio:.0f} times the tokens that they got."
    )


def _near(number: float, right: float) -> bool:
    return math.isclose(number, right, rel_tol=TOLERANCE)


def _why(name: str, number: float, right: Mapping[str, float]) -> str:
    wrong = right[name]
    got = f"{number:.4g}"
    if number <= 0:
        return f"{got} is no number of parameters or tokens, which is above 0"
    if _near(number * 1e9, wrong):
        return f"{got} is in billions: give it in ones, {wrong:.3g}"
    if _near(number * 1e12, wrong):
        return f"{got} is in trillions: give it in ones, {wrong:.3g}"
    slips: list[tuple[float, str]] = [(right[other], f"that is {other}") for other in NAMES]
    slips += _SLIPS[name](right)
    for value, words in slips:
        if _near(number, value):
            return f"{got}: {words}"
    for law, whose in (
        (HOFFMANN_2022_ROUNDED, "the rounded constants of Hoffmann et al., whose optimum is off"),
        (HOFFMANN_2022, "Hoffmann et al.'s own constants"),
    ):
        if _near(number, right_numbers(law)[name]):
            return f"{got} comes from {whose}: the exercise takes those of Besiroglu et al."
    return f"{got} is {number / wrong:.3g} times what the law says"


_SLIPS: dict[str, Callable[[Mapping[str, float]], list[tuple[float, str]]]] = {
    "optimal_parameters": lambda right: [
        (PARAMETERS, "that is what GPT-3 has; what does the law advise for its budget?"),
        (math.sqrt(FLOPS / 120), "that is the rule of 20 tokens for each parameter: ask the law"),
    ],
    "optimal_tokens": lambda right: [
        (TOKENS, "that is what GPT-3 read; what does the law advise for its budget?"),
        (6 * right["optimal_tokens"], "that is C / N: the 6 of C = 6 N D is missing"),
        (FLOPS / (6 * PARAMETERS), "that is what 175 billion parameters can read for this budget"),
        (20 * right["optimal_parameters"], "that is the rule of 20 tokens for each parameter: "
         "C = 6 N D says how many the budget pays for"),
    ],
    "tokens_for_175b": lambda right: [
        (TOKENS, "that is what GPT-3 read: for which budget would 175 billion be the best N?"),
        (20 * PARAMETERS, "that is the rule of 20 tokens for each parameter: ask the law"),
        (right["optimal_tokens"] / right["optimal_parameters"] * PARAMETERS, "that is the ratio "
         "D / N of GPT-3's own budget: 175 billion belong to a larger one, whose ratio is another"),
        (6 * right["tokens_for_175b"], "that is C / N: the 6 of C = 6 N D is missing"),
        (6 * PARAMETERS * right["tokens_for_175b"], "that is the budget, in FLOPs: divide by 6 N"),
    ],
}  # fmt: skip
"""By name: what else it may be taken for, and the words for it."""
