"""Bytes per step, counted while the real step runs, are those of paper and pencil, to the byte."""

import dataclasses
import functools

import pytest
import torch

from course_lib.config import Layout, RunConfig
from course_lib.grade.compare import batch_of, build_model, run_config, windows
from course_lib.layout import check_layout, micro_batches
from course_lib.parallel import comm
from course_lib.parallel.launch import run_ranks
from course_lib.parallel.mesh import Mesh
from course_lib.parallel.parallelize import parallelize
from course_lib.plan.traffic import bytes_per_step
from course_lib.train.step import train_step
from tests.parity.layouts import CASES, Case, case


def one_step(mesh: Mesh, run: RunConfig) -> dict[str, int]:
    """Return what this rank sends in a step in the run's own precision, by axis."""
    parallel = parallelize(build_model(run).float(), run, mesh)
    optimizer = torch.optim.SGD([shard.weight for shard in parallel.shards], lr=0.1)
    before = comm.bytes_by_axis(mesh.axes)
    train_step(
        parallel,
        optimizer,
        batch_of(0, run, mesh, windows(run)),
        micro_batch=run.train.micro_batch,
        global_tokens=run.train.global_batch * run.model.seq_len,
        grad_clip=1.0,
    )
    after = comm.bytes_by_axis(mesh.axes)
    return {name: after[name] - before[name] for name in after}


@functools.cache
def counted(run: RunConfig, ranks: int) -> list[dict[str, int]]:
    layout = dataclasses.replace(run.layout, dp=None)
    return run_ranks(functools.partial(one_step, run=run), ranks, layout=layout)


def in_type(precision: str, grad_dtype: str, **layout: object) -> tuple[str, int, RunConfig]:
    run = run_config(Layout(**layout))
    train = dataclasses.replace(run.train, precision=precision, grad_dtype=grad_dtype)
    words = " ".join(f"{key}{value}" for key, value in layout.items())
    name = f"{words}, {precision} weights, {grad_dtype} gradients, 4 ranks"
    return name, 4, dataclasses.replace(run, train=train)


def of_case(chosen: Case) -> tuple[str, int, RunConfig]:
    return chosen.name, chosen.ranks, run_config(chosen.layout, **chosen.changes)


OTHERS = [
    of_case(Case("dp3", 3, Layout(), {"global_batch": 9})),
    of_case(Case("dp3 zero1", 3, Layout(zero=1), {"global_batch": 9})),
    of_case(Case("dp3 zero3", 3, Layout(zero=3), {"global_batch": 9, "vocab_size": 61})),
    of_case(Case("tp2, full recomputation", 2, Layout(tp=2, recompute="full"))),
    in_type("bf16", "float32", zero=2),
    in_type("bf16", "bf16", tp=2, zero=1, sp=True),
    in_type("bf16", "float32", pp=2, zero=3),
]


ALL = [of_case(each) for each in CASES if each.ranks > 1] + OTHERS


@pytest.mark.parametrize(("name", "ranks", "run"), ALL, ids=[name for name, _, _ in ALL])
def test_every_rank_sends_what_the_plan_says(name: str, ranks: int, run: RunConfig, row) -> None:
    traffic = counted(run, ranks)
    row("bytes that rank 0 sends in a step: counted, and as planned", layout=name, **traffic[0])
    assert traffic == [bytes_per_step(run, ranks, rank) for rank in range(ranks)]


def test_one_rank_sends_nothing() -> None:
    assert set(bytes_per_step(run_config(), 1).values()) == {0}


# The same by hand for the plain layouts, so that the plan is not only compared with the code.
# Float32: 4 bytes. Two ranks: (n - 1) / n is 1/2.
V, T, D = 64, 16, 32


def numbers(L: int) -> int:
    return V * D + T * D + L * (12 * D * D + 13 * D) + 2 * D


def sent(name: str, axis: str, *, L: int, B: int, M: int, rank: int = 0) -> int:
    _, ranks, run = of_case(case(name))
    layout = check_layout(run, ranks)
    assert (run.model.vocab_size, run.model.seq_len, run.model.d_model) == (V, T, D)
    assert (run.model.num_layers, run.model.mlp_size, run.train.micro_batch) == (L, 4 * D, B)
    assert micro_batches(run, layout) == M
    return counted(run, ranks)[rank][axis]


def test_zero_1_sends_as_much_as_plain_data_parallelism() -> None:
    for name in ("dp2", "dp2 zero1"):
        assert sent(name, "dp", L=4, B=1, M=4) == 2 * 4 * numbers(4) / 2


def test_zero_2_and_3_pay_for_memory_with_traffic() -> None:
    L, M = 4, 4
    assert sent("dp2 zero2", "dp", L=L, B=1, M=M) == (M + 1) * 4 * numbers(L) / 2
    # Per micro-batch: weights for the forward pass, again for the backward pass, gradients home.
    assert sent("dp2 zero3", "dp", L=L, B=1, M=M) == 3 * M * 4 * numbers(L) / 2


def test_sequence_parallelism_sends_a_quarter_more_to_save_memory() -> None:
    L, B, M = 2, 2, 4
    vectors = B * T * D
    loss = 2 * 3 * B * T  # an all-reduce of the largest score, the sum, and the target's score
    # An all-reduce is two halves: two of them per block each way, one for the table, one at the
    # head.
    assert sent("tp2", "tp", L=L, B=B, M=M) == 4 * M * ((8 * L + 4) * vectors + loss) / 2
    # In backward each entrance gathers its input once more; at the end come norms, positions and
    # the biases of row layers.
    copied = T * D + L * (4 * D + 2 * D) + 2 * D
    with_sp = 4 * (M * ((10 * L + 5) * vectors + loss) + 2 * copied) / 2
    assert sent("tp2 sp", "tp", L=L, B=B, M=M) == with_sp


def test_a_pipeline_sends_one_activation_per_border() -> None:
    B, M = 1, 8
    for rank in (0, 1):  # one sends activations, the other their gradients; both the tied table
        found = sent("pp2", "pp", L=4, B=B, M=M, rank=rank)
        assert found == 4 * (M * B * T * D + V * D)


def test_three_float64_for_all_ranks_together() -> None:
    assert sent("dp2", "world", L=4, B=1, M=4) == 2 * 24 / 2
    assert sent("dp4", "world", L=4, B=1, M=2) == 2 * 24 * 3 / 4
