"""The one place that knows in which order parallelism is applied to a model.

The model comes in knowing nothing of ranks; what goes out is the model plus what a step has to do
besides calling it. A learner's own gradient reduction is passed as the argument `reduce`, and then
the real trainer and the parity tests run with it: no registry, no patching.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from course_lib.config import RunConfig, check_layout
from course_lib.parallel.data import sum_gradients
from course_lib.parallel.mesh import Mesh

Reduce = Callable[[nn.Module, Mesh], None]
"""Turns the gradients of a model from (...)+dp to (...), in place, after the last backward."""


@dataclass(frozen=True, kw_only=True)
class ParallelModel:
    """A model as one rank holds it, and how its gradients become those of the whole batch."""

    module: nn.Module
    """What this rank computes with: tokens (B, T) -> logits (B, T, V)."""
    mesh: Mesh
    """Where this rank stands."""
    reduce: Reduce
    """Called once per step, after the backward pass of the last micro-batch."""


def parallelize(
    model: nn.Module, run: RunConfig, mesh: Mesh, *, reduce: Reduce = sum_gradients
) -> ParallelModel:
    """Put a whole, initialised model to work on the ranks of a mesh.

    Args:
        model: the full model, with the same weights on every rank (model/init.py sees to that).
        run: its layout must fit the mesh.
        mesh: this rank's place.
        reduce: sums the gradients over the dp axis; called with the model and the mesh.

    Raises:
        ValueError: the run's layout or batch does not fit the number of ranks.
    """
    check_layout(run, mesh.world_size)
    return ParallelModel(module=model.to(mesh.device), mesh=mesh, reduce=reduce)
