"""Data-parallel gradients equal those of one process: every tensor, in float64, before clipping."""

import pytest

from course_lib.parallel.launch import run_ranks
from tests.parity.single_process import RTOL, differences, on_mesh, reference, run_config


@pytest.mark.parametrize("dp", [1, 2, 4])
@pytest.mark.parametrize("micro_batch", [1, 2])
def test_loss_and_every_gradient(dp: int, micro_batch: int) -> None:
    run = run_config(global_batch=8, micro_batch=micro_batch)
    expected_loss, expected = reference(run)
    for loss, gradients in run_ranks(on_mesh, dp, run):
        assert loss == pytest.approx(expected_loss, rel=RTOL)
        errors = differences(gradients, expected)
        assert len(errors) == 28, "a weight was added or lost: look at it, then renew the number"
        assert max(errors.values()) < RTOL, errors


def test_one_large_all_reduce_per_step() -> None:
    run = run_config()

    def traffic(mesh):
        on_mesh(mesh, run)
        return mesh.dp.traffic

    expected_bytes = 8 * sum(g.numel() for g in reference(run)[1].values()) + 8  # and the loss
    for counted in run_ranks(traffic, 2):
        assert (counted.num_calls, counted.num_bytes) == (2, expected_bytes)
