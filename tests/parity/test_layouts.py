"""Every layout equals one process: loss, norm, each gradient, and the weights that SGD makes of it.

So does every layout with a learner's own piece in one of its seams.
"""

import pytest

from course_lib.config import Layout
from course_lib.grade.compare import RTOL, reference, run_config, worst_error
from course_lib.parallel import comm
from course_lib.parallel.data import sum_gradients
from course_lib.parallel.launch import RanksFailed
from course_lib.parallel.mesh import Mesh
from course_lib.schedule import Op, Schedule
from tests.parity.layouts import CASES, Case, case

TITLE = "every layout against one process: largest relative error"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_layout_equals_one_process(case: Case, row) -> None:
    run = run_config(case.layout, **case.changes)
    # Two tables, the last norm, and per block two norms and four linear layers.
    biases = 2 if run.model.bias else 1
    weights = 2 + biases + run.model.num_layers * 6 * biases + (not run.model.tied_head)
    message = "a weight was added or lost: look at it, then renew the number"
    assert len(reference(run).gradients) == weights, message
    errors = worst_error(run, case.ranks)
    row(TITLE, layout=case.name, ranks=case.ranks, **errors)
    assert max(errors.values()) < RTOL, errors


def naive(model, mesh: Mesh) -> None:
    """Lab 03's first version, on all gradients at once."""
    sum_gradients(model, mesh)


def one_by_one(model, mesh: Mesh) -> None:
    for parameter in reversed(list(model.parameters())):
        parameter.grad.copy_(comm.all_reduce(parameter.grad.clone(), mesh.dp))


@pytest.mark.parametrize("reduce", [naive, one_by_one])
@pytest.mark.parametrize("name", ["dp4", "tp2 x dp2"])
def test_with_a_learners_reduce(reduce, name: str, row) -> None:
    check(name, row, f"own reduce ({reduce.__name__})", reduce=reduce)


def written_by_hand(*ranks: str) -> Schedule:
    return [[Op(word[0], int(word[1:])) for word in rank.split()] for rank in ranks]


# Valid, and in no textbook: forwards by pairs, and backwards not in the order of the forwards.
ODD = written_by_hand(
    "F0 F1 F2 F3 B1 B0 F4 F5 B3 F6 F7 B2 B5 B4 B7 B6",
    "F0 F1 B1 F2 F3 B0 B3 B2 F4 F5 B5 B4 F6 F7 B7 B6",
)


@pytest.mark.parametrize("name", ["pp2", "pp2, untied"])
def test_with_a_learners_schedule(name: str, row) -> None:
    check(name, row, "own schedule", schedule=lambda p, m, v: ODD)


OURS = {
    "attention.qkv": "qkv",
    "attention.out": "row",
    "mlp.up": "column",
    "mlp.down": "row",
    "tokens": "vocab",
    "head": "vocab",
}
ONLY_MLP = {name: rule for name, rule in OURS.items() if not name.startswith("attention")}


@pytest.mark.parametrize(("table", "name"), [(OURS, "tp2 sp"), (ONLY_MLP, "tp2")])
def test_with_a_learners_shard_table(table, name: str, row) -> None:
    check(name, row, f"own shard table ({len(table)} rules)", shard=table)


def check(name: str, row, what: str, **seam) -> None:
    chosen = case(name)
    errors = worst_error(run_config(chosen.layout, **chosen.changes), chosen.ranks, **seam)
    row(TITLE, layout=f"{name}, {what}", ranks=chosen.ranks, **errors)
    assert max(errors.values()) < RTOL, errors


def test_a_learners_reduce_and_zero_exclude_each_other() -> None:
    with pytest.raises(RanksFailed, match="set zero to 0, or leave reduce out"):
        worst_error(run_config(Layout(zero=1)), 2, reduce=naive)
