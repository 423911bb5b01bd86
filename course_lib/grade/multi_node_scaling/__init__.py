"""The checks of lab 04: formulas for a cluster's links, and a run that outlived a node.

    fit_alpha_beta(sizes_bytes, seconds) -> (alpha_s, beta)
        The line seconds = alpha + bytes x beta through measurements whose errors are in proportion
        to them.
    all_reduce_s(num_bytes, ranks, alpha_s, beta) -> float
        Seconds of an all-reduce in a ring; alpha is that of the whole operation.
    tokens_per_s(tokens, compute_s, gradient_bytes, ranks, alpha_s, beta) -> float
        Of a step that computes and then sums its gradients.
    efficiency(step_1_s, step_n_s, ranks, scaling) -> float
        scaling is "strong" (the same batch) or "weak" (ranks times the batch).
    smallest_batch(sequence_s, sum_s, ranks, micro_batch, share) -> int
        Sequences of the smallest global batch whose sum is at most a share of its step.
    scaled_lr(lr, batch, new_batch, rule) -> float
        rule is "linear" or "sqrt".
    published_step_s(row, flops_per_s, alpha_s, beta) -> float
        Seconds of a step of a published run (plan/published.py): computing, bubble, sum.
    survived
        No function: a run that is handed in (grade/runs.py). It lost a node, was started again by
        SLURM, and went on from a checkpoint.

Each check of a function takes it and calls it, in a rank that can be stopped, with several inputs;
with hidden=True, for grading, with others.
"""

from collections.abc import Callable

from course_lib.grade.checks import CheckFailed
from course_lib.grade.mistakes import check_formula, results_of
from course_lib.grade.multi_node_scaling import formulas
from course_lib.grade.multi_node_scaling.hints import LAB
from course_lib.grade.multi_node_scaling.lines import (
    HIDDEN,
    VISIBLE,
    measurements,
    wrong_fit,
)
from course_lib.grade.receipts import Wanted
from course_lib.grade.runs import check_run
from course_lib.plan.published import PublishedRun

hint = LAB.hint


def check_fit_alpha_beta(
    function: Callable[[list[int], list[float]], tuple[float, float]],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check a line through measurements of made-up links.

    Raises:
        CheckFailed: says what is wrong; so does each check below.
    """
    links = HIDDEN if hidden else VISIBLE
    inputs = measurements(links, backwards=hidden)

    def prove() -> str:
        fits = results_of(function, inputs, numbers=2, hidden=hidden, limit_s=limit_s)
        for link, fit, (sizes, seconds) in zip(links, fits, inputs, strict=True):
            wrong = wrong_fit(link, fit, sizes, seconds)
            if wrong:
                raise CheckFailed(
                    f"for a link with alpha {link[0]:g} s and beta {link[1]:g} s per byte, {wrong}"
                )
        alpha_off, beta_off = (
            max(abs(fit[i] / link[i] - 1) for link, fit in zip(links, fits, strict=True))
            for i in (0, 1)
        )
        return (
            f"three links of known alpha and beta: alpha is off by {alpha_off:.1%} at most, beta "
            f"by {beta_off:.1%}. The measurements themselves are off by up to 6 %."
        )

    LAB.check("fit_alpha_beta", function, prove, hidden=hidden)


def check_all_reduce_s(
    function: Callable[[float, int, float, float], float],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check the time of an all-reduce."""
    check_formula(
        LAB,
        "all_reduce_s",
        function,
        formulas.ALL_REDUCE_HIDDEN if hidden else formulas.ALL_REDUCE_INPUTS,
        formulas.all_reduce_s,
        formulas.ALL_REDUCE_MISTAKES,
        formulas.show_all_reduce,
        "right on 1, 2, 4 and 32 ranks. Sums over more ranks hardly cost more: a rank never sends "
        "twice its tensor.",
        hidden=hidden,
        limit_s=limit_s,
    )


def check_tokens_per_s(
    function: Callable[[int, float, float, int, float, float], float],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check the speed of a step that computes and sums."""
    check_formula(
        LAB,
        "tokens_per_s",
        function,
        formulas.TOKENS_HIDDEN if hidden else formulas.TOKENS_INPUTS,
        formulas.tokens_per_s,
        formulas.TOKENS_MISTAKES,
        formulas.show_tokens,
        "right on 1, 2 and 4 ranks, over a fast link and a slow one.",
        hidden=hidden,
        limit_s=limit_s,
    )


def check_efficiency(
    function: Callable[[float, float, int, str], float],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check the efficiency of strong and of weak scaling."""
    check_formula(
        LAB,
        "efficiency",
        function,
        formulas.EFFICIENCY_HIDDEN if hidden else formulas.EFFICIENCY_INPUTS,
        formulas.efficiency,
        formulas.EFFICIENCY_MISTAKES,
        formulas.show_efficiency,
        "right for strong and for weak scaling.",
        hidden=hidden,
        limit_s=limit_s,
    )


def check_smallest_batch(
    function: Callable[[float, float, int, int, float], int],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check the smallest batch for which a sum is cheap enough."""
    check_formula(
        LAB,
        "smallest_batch",
        function,
        formulas.BATCH_HIDDEN if hidden else formulas.BATCH_INPUTS,
        formulas.smallest_batch,
        formulas.BATCH_MISTAKES,
        formulas.show_batch,
        "right for four links and numbers of ranks.",
        hidden=hidden,
        limit_s=limit_s,
    )


def check_scaled_lr(
    function: Callable[[float, int, int, str], float],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check two rules for the learning rate of another batch size."""
    check_formula(
        LAB,
        "scaled_lr",
        function,
        formulas.LR_HIDDEN if hidden else formulas.LR_INPUTS,
        formulas.scaled_lr,
        formulas.LR_MISTAKES,
        formulas.show_lr,
        "right for both rules, for larger and for smaller batches.",
        hidden=hidden,
        limit_s=limit_s,
    )


def check_published_step_s(
    function: Callable[[PublishedRun, float, float, float], float],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check the predicted step of runs of the published table."""
    check_formula(
        LAB,
        "published_step_s",
        function,
        formulas.PUBLISHED_HIDDEN if hidden else formulas.PUBLISHED_INPUTS,
        formulas.published_step_s,
        formulas.PUBLISHED_MISTAKES,
        formulas.show_published,
        "right for four rows of the table, from 32 to 3072 GPUs.",
        hidden=hidden,
        limit_s=limit_s,
    )


def check_survived(*, hidden: bool = False) -> None:
    """Check the run that was handed in: interrupted on two nodes, started again, finished.

    Raises:
        CheckFailed: says what is wrong.
        NotGradable: while grading, accounting cannot be asked.
    """
    wanted = Wanted(nodes=2, ranks=2, resumed=True)

    def prove() -> str:
        proved = check_run("survived", wanted)
        return f"{proved} SLURM started it again, and it went on from a checkpoint."

    LAB.judge("survived", prove, hidden=hidden)
