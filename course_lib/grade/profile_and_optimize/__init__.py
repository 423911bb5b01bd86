"""The checks of lab 05: reading a profile, three pieces made fast, and a run before and after.

    own_time(regions) -> dict
        `regions` is a list of (name, start, stop), in the order of their starts; what begins inside
        another ends inside it. Return by name the time in which a region of that name was the
        innermost; the times add up to the outermost regions.
    findings            found: a number for each of the six bottlenecks (case.py)
    prefetch(read, steps)
        `read(step)` returns a step's batch, from a slow disk. Yield the batch of every step of the
        range `steps`, and let the next one be read while the present one is in use. No more than
        three ahead, errors of `read` arrive, and no thread is left behind.
    attention(q, k, v) -> (B, H, T, K)
        softmax(q k^T / sqrt(K)) v, where no token sees a later one: for all heads in one call, with
        no weights (..., T, T) in memory.
    gradients_are_finite(gradients) -> bool
        Whether every number in a list of tensors is finite, with one number read back.
    optimized           two runs handed in, before and after (grade/runs.py)

Each check of a function takes it; with hidden=True, for grading after the check without it, it
tries other inputs.
"""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from torch import Tensor

from course_lib.grade import compare
from course_lib.grade.checks import CheckFailed
from course_lib.grade.handed_in import Answers
from course_lib.grade.profile_and_optimize import attending, finite, prefetching, regions
from course_lib.grade.profile_and_optimize.case import (
    ORDER,
    RANKS,
    ladder,
    promised_ratios,
    slow_run,
    trade,
)
from course_lib.grade.profile_and_optimize.findings import judge_findings
from course_lib.grade.profile_and_optimize.hints import LAB
from course_lib.grade.profile_and_optimize.optimized import TARGET, judge_optimized
from course_lib.grade.receipts import Wanted
from course_lib.grade.runs import check_run, claims, ran_in
from course_lib.grade.trials import on_ranks, patience_s
from course_lib.grade.whose import whose
from course_lib.profile.across import RunProfile, profile_run

__all__ = ["ORDER", "TARGET", "hand_in", "hint", "ladder", "promised_ratios", "slow_run", "trade"]

ANSWERS = Answers(file="answers_05.json", wanted={"findings": {"found": dict}})

hint = LAB.hint
hand_in = ANSWERS.write


def check_own_time(
    function: Callable[[list[tuple[str, int, int]]], dict[str, int]],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check own times of nested regions.

    Raises:
        CheckFailed: says what is wrong.
    """
    cases = regions.HIDDEN if hidden else regions.VISIBLE
    tried = _tried(function, hidden, limit_s)

    def prove() -> str:
        [results] = on_ranks(regions.regions_once, 1, cases=cases, **tried)
        for result, case in zip(results, cases, strict=True):
            wrong = regions.wrong_times(result, case)
            if wrong:
                example = "the example above" if case == regions.STEP else f"{len(case)} regions"
                raise CheckFailed(f"with {example}, {wrong}")
        return f"{len(cases)} lists of regions, and the times add up to the steps."

    LAB.check("own_time", function, prove, hidden=hidden)


def check_findings(*, hidden: bool = False) -> None:
    """Check which bottlenecks were found, and the numbers that prove them.

    Raises:
        CheckFailed: says what is wrong.
    """
    arithmetic_only = hidden or whose().graded

    def prove() -> str:
        found = ANSWERS.read("findings")["found"]
        return judge_findings(found, None if arithmetic_only else _recording())

    LAB.judge("findings", prove, hidden=arithmetic_only)


_recordings: dict[Path, RunProfile] = {}


def _recording() -> RunProfile:
    """Return the learner's own recording of the slow run; it is read once."""
    run_dir = ran_in("before")
    if run_dir not in _recordings:
        try:
            _recordings[run_dir] = profile_run(run_dir)
        except ValueError as error:
            raise CheckFailed(f"the slow run's recording cannot be read: {error}") from None
    return _recordings[run_dir]


def check_prefetch(
    function: Callable[[Callable[[int], Tensor], range], Generator[Tensor, None, None]],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check that batches are read ahead, by the order of events.

    Raises:
        CheckFailed: says what is wrong.
    """
    cases = prefetching.HIDDEN if hidden else prefetching.VISIBLE
    tried = _tried(function, hidden, limit_s)

    def prove() -> str:
        # One after the other, so that the first mistake is told and not the slowest.
        for case in cases:
            [[story]] = on_ranks(prefetching.prefetch_once, 1, cases=(case,), **tried)
            wrong = prefetching.wrong_story(story, case)
            if wrong:
                raise CheckFailed(wrong)
        return (
            "each batch is read while the one before is in use; an error of the disk arrives, and "
            "no thread is left."
        )

    LAB.check("prefetch", function, prove, hidden=hidden)


def check_attention(
    function: Callable[[Tensor, Tensor, Tensor], Tensor],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check an attention core alone and in a GPT, in float64, and what it takes for it.

    Raises:
        CheckFailed: says what is wrong.
    """
    shapes = attending.HIDDEN if hidden else attending.VISIBLE
    run = compare.run_config(num_layers=1 if hidden else 2, global_batch=4)
    tried = _tried(function, hidden, limit_s)

    def prove() -> str:
        [results] = on_ranks(attending.attend_once, 1, shapes=shapes, **tried)
        for attended, shape in zip(results, shapes, strict=True):
            wrong = attending.wrong_attention(attended, shape)
            if wrong:
                raise CheckFailed(wrong)
        [trained] = on_ranks(attending.train_once, 1, run=run, **tried)
        wrong = attending.wrong_training(trained, run)
        if wrong:
            raise CheckFailed(wrong)
        return (
            f"a GPT has the same loss and gradients with it, to 9 digits, and it takes "
            f"{results[0].operators} operators for {shapes[0][0] * shapes[0][1]} heads."
        )

    LAB.check("attention", function, prove, hidden=hidden)


def check_gradients_are_finite(
    function: Callable[[list[Tensor]], bool],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check a look at gradients: its answers, and how many numbers the host reads back.

    Raises:
        CheckFailed: says what is wrong.
    """
    cases = finite.HIDDEN if hidden else finite.VISIBLE
    tried = _tried(function, hidden, limit_s)

    def prove() -> str:
        [looked] = on_ranks(finite.look_once, 1, cases=cases, **tried)
        wrong = finite.wrong_look(looked, cases)
        if wrong:
            raise CheckFailed(wrong)
        most = max(one.reads for one in looked)
        number = "one number" if most == 1 else "no number that was counted"
        return f"right for {len(cases)} lists of gradients, and {number} read back for each."

    LAB.check("gradients_are_finite", function, prove, hidden=hidden)


def check_optimized(*, hidden: bool = False) -> None:
    """Check two runs that were handed in: the same training, and the second one is fast.

    Raises:
        CheckFailed: says what is wrong.
        NotGradable: while grading, accounting cannot be asked.
    """

    def prove() -> str:
        runs = {name: claims(name) for name in ("before", "after")}
        (before, first), (after, second) = runs["before"], runs["after"]
        judged = judge_optimized(before, after, first, second)
        for name in runs:
            try:
                check_run(name, Wanted(nodes=RANKS, ranks=RANKS))
            except CheckFailed as failure:
                raise CheckFailed(f"the run {name}: {failure}") from None
        return judged

    LAB.judge("optimized", prove, hidden=hidden)


def _tried(function: Callable, hidden: bool, limit_s: float | None) -> dict[str, Any]:
    return {"function": function, "limit_s": patience_s(hidden, limit_s)}
