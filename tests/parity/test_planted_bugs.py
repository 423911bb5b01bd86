"""The proof can fail: known mistakes of data parallelism are planted, and each one is caught.

A mistake moves a gradient by a percent or more, a correct layout by 1e-15; the tests ask for
1e-3, so that nothing that is merely imprecise passes for a bug.
"""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from course_lib.parallel import comm
from course_lib.parallel.data import sum_gradients
from course_lib.parallel.launch import run_ranks
from course_lib.parallel.mesh import Mesh
from tests.parity.single_process import differences, on_mesh, reference, run_config

OBVIOUS = 1e-3


def no_all_reduce(model: nn.Module, mesh: Mesh) -> None:
    """Forget to communicate: every rank keeps the gradient of its own part."""


def local_mean(model: nn.Module, mesh: Mesh) -> None:
    """Divide by what this rank has seen, not by the global count: dp times too large."""
    sum_gradients(model, mesh)
    for parameter in model.parameters():
        parameter.grad.mul_(mesh.dp.size)


def divided_twice(model: nn.Module, mesh: Mesh) -> None:
    """Average over the ranks although the step divides by the global count: dp times too small."""
    sum_gradients(model, mesh)
    for parameter in model.parameters():
        parameter.grad.div_(mesh.dp.size)


def one_weight_forgotten(model: nn.Module, mesh: Mesh) -> None:
    """Reduce all weights but one."""
    for name, parameter in model.named_parameters():
        if name != "blocks.1.mlp.up.weight":
            comm.all_reduce(parameter.grad, mesh.dp)


def gradient_of_rank_zero(model: nn.Module, mesh: Mesh) -> None:
    """Make all ranks agree, but on the wrong thing: rank 0's gradient."""
    for parameter in model.parameters():
        comm.broadcast(parameter.grad, mesh.dp)


def worst_error(dp: int, **bug: object) -> float:
    run = run_config()
    _, expected = reference(run)
    return max(
        max(differences(gradients, expected).values())
        for _, gradients in run_ranks(lambda mesh: on_mesh(mesh, run, **bug), dp)
    )


@pytest.mark.parametrize(
    "bug", [no_all_reduce, local_mean, divided_twice, one_weight_forgotten, gradient_of_rank_zero]
)
@pytest.mark.parametrize("dp", [2, 4])
def test_wrong_reduction_is_caught(bug: Callable[[nn.Module, Mesh], None], dp: int) -> None:
    assert worst_error(dp, reduce=bug) > OBVIOUS


@pytest.mark.parametrize("dp", [2, 4])
def test_wrong_share_of_the_batch_is_caught(dp: int) -> None:
    assert worst_error(dp, wrong_share=True) > OBVIOUS


def test_a_different_correct_reduction_is_not() -> None:
    def one_by_one(model: nn.Module, mesh: Mesh) -> None:
        for parameter in reversed(list(model.parameters())):
            parameter.grad.copy_(comm.all_reduce(parameter.grad.clone(), mesh.dp))

    assert worst_error(4, reduce=one_by_one) < 1e-9


def test_adam_would_hide_a_wrong_factor() -> None:
    """Why gradients are compared and not losses: Adam's step does not see a factor of 8."""
    steps = []
    for factor in (1.0, 8.0):
        weight = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        optimizer = torch.optim.AdamW([weight], lr=0.1)
        weight.grad = factor * torch.tensor([0.3, -0.7], dtype=torch.float64)
        optimizer.step()
        steps.append(weight.detach().clone())
    assert torch.allclose(*steps, rtol=1e-6)
