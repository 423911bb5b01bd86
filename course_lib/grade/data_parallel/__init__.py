"""The checks of lab 03: what a learner writes, and how it is proved with real ranks.

    all_reduce(tensor, axis) -> Tensor
        Return the sum over the axis of `tensor` (n,), built from `comm.exchange` and `wait` alone.
        It may overwrite `tensor`. n need not be a multiple of the ranks.
    average_gradients(model, mesh, num_tokens)
        Each rank's p.grad is the gradient of its mean loss over its own `num_tokens` tokens. Make
        it that of the mean over all tokens of the dp ranks; they may have different numbers.
    sum_gradients(model, mesh)
        Each rank's p.grad is a part of a sum. Make it the sum over mesh.dp. The real trainer runs
        with it: parallelize(..., reduce=sum_gradients). Nothing to divide: the trainer has.
    make_buckets(parameters, bucket_bytes) -> list[list[Parameter]]
        Put `parameters` (in the order of the forward pass) into buckets in the order in which their
        gradients arrive, last layer first. Begin a new bucket when the next parameter would take
        the present one above `bucket_bytes`; a larger parameter is a bucket of its own.
    overlap_buckets(buckets, axis) -> finish
        Called once, before training. Send a bucket off as one message (`comm.start_all_reduce`) as
        soon as its last gradient has arrived in backward. `finish()` is called after every
        backward: when it returns, p.grad holds the sum over the axis.
    two_nodes
        No function: a run folder that is handed in (grade/runs.py).

Each check of a function takes it; with hidden=True, for grading after the check without it, it
tries other ranks, sizes and layouts.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from course_lib.config import Layout
from course_lib.grade import compare
from course_lib.grade.checks import CheckFailed
from course_lib.grade.data_parallel.buckets import (
    STEPS,
    bucket_once,
    overlap_steps,
    wrong_buckets,
    wrong_overlap,
)
from course_lib.grade.data_parallel.gradients import (
    average_once,
    train_with,
    wrong_average,
    wrong_training,
)
from course_lib.grade.data_parallel.hints import LAB
from course_lib.grade.data_parallel.sends import reduce_once, wrong_sums, wrong_ways
from course_lib.grade.receipts import Wanted
from course_lib.grade.runs import check_run
from course_lib.grade.trials import on_ranks, patience_s
from course_lib.parallel.mesh import Mesh

hint = LAB.hint


def check_all_reduce(
    function: Callable[[Tensor, Any], Tensor], *, hidden: bool = False, limit_s: float | None = None
) -> None:
    """Check a sum over ranks made of sends and receives.

    Raises:
        CheckFailed: says what is wrong.
    """
    cases = [(3, 7), (4, 3), (2, 1), (4, 1000)] if hidden else [(2, 8), (4, 10), (4, 8)]

    tried = _tried(function, hidden, limit_s)

    def prove() -> str:
        for n, length in cases:
            ranks = on_ranks(reduce_once, n, length=length, **tried)
            wrong = wrong_sums([rank.result for rank in ranks], length)
            if wrong is None:
                wrong = wrong_ways([rank.messages for rank in ranks])
            if wrong:
                raise CheckFailed(f"with {length} numbers on {n} ranks, {wrong}")
        most = max(rank.num_bytes for rank in ranks) / (8 * length)
        ring = 2 * (n - 1) / n
        return (
            f"the sum is right on 2 and 4 ranks. On {n} ranks the busiest one sent {most:.2g} "
            f"times its tensor (a ring sends {ring:.2g} times)."
        )

    LAB.check("all_reduce", function, prove, hidden=hidden)


def check_average_gradients(
    function: Callable[[nn.Module, Mesh, int], None],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check, in float64 and against one process, that averaged gradients are the large batch's.

    Raises:
        CheckFailed: says what is wrong.
    """
    cases = [(1, 5), (4, 1, 1)] if hidden else [(2, 2), (3, 1), (1, 2, 3, 2)]
    run = compare.run_config(num_layers=1)

    tried = _tried(function, hidden, limit_s)

    def prove() -> str:
        for shares in cases:
            ranks = on_ranks(average_once, len(shares), run=run, shares=shares, **tried)
            wrong = wrong_average(ranks, run, shares)
            if wrong:
                tokens = " and ".join(str(share * run.model.seq_len) for share in shares)
                raise CheckFailed(f"with {tokens} tokens on {len(shares)} ranks, {wrong}")
        return (
            "2 and 4 ranks have the gradient of one process with the whole batch, to 9 digits, "
            "also where the ranks have different numbers of tokens."
        )

    LAB.check("average_gradients", function, prove, hidden=hidden)


def check_sum_gradients(
    function: Callable[[nn.Module, Mesh], None],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check a learner's reduction in the real trainer, by the trainer's own parity test.

    Raises:
        CheckFailed: says what is wrong.
    """
    seen, unseen = [(2, Layout()), (4, Layout())], [(3, Layout()), (4, Layout(tp=2))]
    layouts = unseen if hidden else seen

    tried = _tried(function, hidden, limit_s)

    def prove() -> str:
        for n, layout in layouts:
            run = compare.run_config(
                layout, global_batch=4 * n, micro_batch=2, num_layers=layout.pp
            )
            ranks = on_ranks(train_with, n, layout=layout, run=run, **tried)
            wrong = wrong_training(ranks, run)
            if wrong:
                raise CheckFailed(f"with {_layout_words(layout, n)}, {wrong}")
        return (
            "the trainer runs with it on 2 and 4 ranks: loss, gradients and the weights after "
            f"{compare.STEPS} steps are those of one process."
        )

    LAB.check("sum_gradients", function, prove, hidden=hidden)


def check_make_buckets(
    function: Callable[[Sequence[nn.Parameter], float], Sequence[Sequence[nn.Parameter]]],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check how parameters are put into buckets.

    Raises:
        CheckFailed: says what is wrong.
    """
    # 512 bytes are exactly the first two gradients that arrive: full is not yet too full.
    sizes = [200.0, 20_000.0, 100_000.5, 250_000.0] if hidden else [50_000.0, 1e9, 1.0, 512.0]
    run = compare.run_config(num_layers=2)

    tried = _tried(function, hidden, limit_s)

    def prove() -> str:
        named = dict(compare.build_model(run).named_parameters())
        [results] = on_ranks(bucket_once, 1, parameters=named, sizes=sizes, **tried)
        for size, buckets in zip(sizes, results, strict=True):
            wrong = wrong_buckets(buckets, named, size)
            if wrong:
                raise CheckFailed(f"with bucket_bytes={size:g}, {wrong}")
        return f"{len(named)} parameters in {len(results[0])} buckets, in the order of backward."

    LAB.check("make_buckets", function, prove, hidden=hidden)


def check_overlap_buckets(
    function: Callable[[list[list[nn.Parameter]], Any], Callable[[], object]],
    *,
    hidden: bool = False,
    limit_s: float | None = None,
) -> None:
    """Check that buckets are summed, each as one message, and leave while backward is running.

    Raises:
        CheckFailed: says what is wrong.
    """
    cases = [(3, 20_000.0), (2, 1e9)] if hidden else [(2, 50_000.0), (4, 50_000.0)]
    run = compare.run_config(num_layers=2)

    tried = _tried(function, hidden, limit_s)

    def prove() -> str:
        for n, size in cases:
            try:
                ranks = on_ranks(overlap_steps, n, run=run, size=size, **tried)
            except CheckFailed as failure:
                if "'NoneType' object has no attribute" in str(failure):
                    raise CheckFailed(f"{failure}\n{_LATE}") from None
                raise
            for step in range(STEPS):
                wrong = wrong_overlap([rank[step] for rank in ranks], run, step)
                if wrong:
                    when = "" if step == 0 else " in the second step"
                    raise CheckFailed(f"on {n} ranks{when}, {wrong}")
            first, *_, last = (step.kept for step in ranks[0])
            if last > first:
                raise CheckFailed(
                    f"{first} messages are kept after the first step, {last} after step {STEPS}: "
                    "finish() has to empty its list, or every step keeps the tensors of all before"
                )
        number = len(ranks[0][0].buckets)
        return f"the sums are right, {number} messages a step, and all left inside backward."

    LAB.check("overlap_buckets", function, prove, hidden=hidden)


_LATE = (
    "A gradient of that bucket is not there yet. Does the hook still see its own bucket? A "
    "function made in a loop sees the loop's last value, unless it keeps its own: "
    "def hook(p, bucket=bucket)"
)


def check_two_nodes(*, hidden: bool = False) -> None:
    """Check the run that was handed in: a job of two ranks on two nodes, as accounting knows it.

    Raises:
        CheckFailed: says what is wrong.
        NotGradable: while grading, accounting cannot be asked.
    """
    wanted = Wanted(nodes=2, ranks=2)
    LAB.judge("two_nodes", lambda: check_run("two_nodes", wanted), hidden=hidden)


def _tried(function: Callable, hidden: bool, limit_s: float | None) -> dict[str, Any]:
    return {"function": function, "limit_s": patience_s(hidden, limit_s)}


def _layout_words(layout: Layout, n: int) -> str:
    others = {"tp": layout.tp, "pp": layout.pp}
    words = [f"{name}({size})" for name, size in others.items() if size > 1]
    return " x ".join([f"dp({n // (layout.tp * layout.pp)})", *words])
