"""A layout compared with one process in float64: by the parity tests, by labs and by grading.

The reference is one process with the whole batch, and no code of course_lib/parallel: loss,
gradients, their norm and the parameters after three SGD steps come from the model and plain
autograd, so an error in the training step cannot be on both sides of the comparison. SGD and not
Adam: Adam does not see a gradient that is eight times too large. What is compared with it is the
real training step; a learner's piece gets in through the arguments of `parallelize`.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.config import Layout, RunConfig
from course_lib.model.gpt import GPT
from course_lib.model.init import init_weights
from course_lib.parallel.eager import eager
from course_lib.parallel.launch import run_ranks
from course_lib.parallel.mesh import Mesh
from course_lib.parallel.parallelize import ParallelModel, parallelize
from course_lib.parallel.slices import Piece
from course_lib.presets import tiny
from course_lib.train.step import compute_gradients, train_step
from course_lib.train.tokens import Windows, share

RTOL = 1e-9
STEPS = 3
LR = 1.0  # large, so that a step with old weights shows
CLIP = 0.1  # shorter than the gradient, so that the norm decides the parameters too


def run_config(
    layout: Layout | None = None,
    *,
    global_batch: int = 8,
    micro_batch: int = 1,
    **model_changes: object,
) -> RunConfig:
    """Return a run small enough for float64 gradients in milliseconds."""
    run = tiny()
    shape: dict[str, Any] = {"vocab_size": 64, "seq_len": 16, "num_layers": 4, **model_changes}
    return dataclasses.replace(
        run,
        model=dataclasses.replace(run.model, **shape),
        layout=layout or Layout(),
        # Small buckets, so that there are several of them.
        train=dataclasses.replace(
            run.train, global_batch=global_batch, micro_batch=micro_batch, bucket_mib=0.1
        ),
    )


def build_model(run: RunConfig) -> GPT:
    """Return the run's initial model in float64."""
    model = GPT(run.model).double()
    init_weights(model, run.model, run.train.seed)
    # Zero biases have gradients too, but a bias that is not zero also shows if it is lost.
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator).double()
    return model


def windows(run: RunConfig) -> Windows:
    """Return made-up tokens, (10,000,) below the vocabulary's size."""
    tokens = np.random.default_rng(7).integers(0, run.model.vocab_size, 10_000, dtype=np.uint16)
    return Windows(tokens, run.model.seq_len, run.train.seed)


@dataclass
class Outcome:
    """What one rank computed, for the pieces of the parameters that it holds."""

    loss: float
    norm: float
    gradients: list[tuple[Piece, Tensor]]
    """Of the first step, before clipping."""
    weights: list[tuple[Piece, Tensor]]
    """After three SGD steps, as updated and as the model computes with them."""


@dataclass
class Reference:
    """What one process computed."""

    loss: float
    norm: float
    gradients: dict[str, Tensor]
    """Of the first step, before clipping."""
    weights: dict[str, Tensor]
    """After three SGD steps."""


def reference(run: RunConfig) -> Reference:
    """Return what one process computes, whatever the run's layout says."""
    # Layout and micro-batches are not used here, so runs that differ in them share the result.
    one = dataclasses.replace(
        run, layout=Layout(), train=dataclasses.replace(run.train, micro_batch=1)
    )
    return _reference(one)


@functools.cache
def _reference(run: RunConfig) -> Reference:
    model = build_model(run)
    data = windows(run)
    losses, norms = [], []
    first: dict[str, Tensor] = {}
    for step in range(STEPS):
        tokens = data.read(data.of_step(step, run.train.global_batch))
        model.zero_grad()
        loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        losses.append(loss.item())
        gradients = gradients_of(model)
        first = first or {name: gradient.clone() for name, gradient in gradients.items()}
        # By hand: torch's clip_grad_norm_ divides by norm + 1e-6.
        norms.append(float(torch.cat([g.flatten() for g in gradients.values()]).norm()))
        assert norms[-1] > CLIP
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter -= LR * CLIP / norms[-1] * gradients[name]
    weights = {name: p.detach() for name, p in model.named_parameters()}
    return Reference(losses[0], norms[0], first, weights)


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    """Return every parameter's gradient, by name."""
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def on_mesh(
    mesh: Mesh,
    run: RunConfig,
    bug: Callable[[Mesh], contextlib.AbstractContextManager] | None = None,
    **seams: Any,
) -> Outcome:
    """Return what this rank of a mesh computes, by the real training step.

    Args:
        bug: what breaks the code while it runs (test_planted_bugs.py).
        seams: passed on to `parallelize`.
    """
    with contextlib.nullcontext() if bug is None else bug(mesh):
        parallel = parallelize(build_model(run), run, mesh, **seams)
        data = windows(run)
        optimizer = eager(torch.optim.SGD)([shard.weight for shard in parallel.shards], lr=LR)
        batches = [batch_of(step, run, mesh, data) for step in range(STEPS)]
        counts: dict[str, Any] = {
            "micro_batch": run.train.micro_batch,
            "global_tokens": run.train.global_batch * run.model.seq_len,
        }
        result = compute_gradients(parallel, batches[0], **counts)
        gradients = [(s.piece, s.grad.clone()) for s in parallel.shards if s.grad is not None]
        for batch in batches:
            train_step(parallel, optimizer, batch, grad_clip=CLIP, **counts)
        weights = [(shard.piece, shard.weight.clone()) for shard in parallel.shards]
        weights += in_memory(parallel)
    return Outcome(result.loss, result.grad_norm, gradients, weights)


def batch_of(step: int, run: RunConfig, mesh: Mesh, data: Windows) -> Tensor:
    """Return a dp rank's share of a step's global batch, (B/dp, T + 1)."""
    return data.read(share(data.of_step(step, run.train.global_batch), mesh.dp.size, mesh.dp.rank))


def in_memory(parallel: ParallelModel) -> list[tuple[Piece, Tensor]]:
    """Return what the model computes with, beside what the optimizer updates; ZeRO 3 drops it."""
    return [
        (
            Piece(name=slot.name, slice=slot.slice, start=0, stop=parameter.numel()),
            parameter.detach().flatten().clone(),
        )
        for parameter, slot in parallel.gradients.slots.items()
        if parameter.untyped_storage().size()
    ]


def worst_error(run: RunConfig, ranks: int, **options: object) -> dict[str, float]:
    """Run a layout and return its largest relative error in loss, norm, gradients and weights.

    Relative to the tensor and not to each element: some true gradients are zero (a bias added to
    all keys changes no attention weight), and noise divided by noise proves nothing.
    """
    expected = reference(run)
    layout = dataclasses.replace(run.layout, dp=None)
    call = functools.partial(on_mesh, run=run, **options)
    outcomes = run_ranks(call, ranks, layout=layout, timeout_s=120)
    errors = [errors_of(outcome, expected) for outcome in outcomes]
    check_covered([outcome.gradients for outcome in outcomes], expected.gradients)
    return {kind: max(error[kind] for error in errors) for kind in errors[0]}


def errors_of(outcome: Outcome, expected: Reference) -> dict[str, float]:
    """Return the largest relative errors of what one rank computed."""
    errors = {
        "loss": abs(outcome.loss / expected.loss - 1),
        "norm": abs(outcome.norm / expected.norm - 1),
        "gradient": max(differences(outcome.gradients, expected.gradients).values()),
        "weight": max(differences(outcome.weights, expected.weights).values()),
    }
    # A NaN would lose every comparison with max().
    return {kind: math.inf if math.isnan(error) else error for kind, error in errors.items()}


def differences(pieces: list[tuple[Piece, Tensor]], full: dict[str, Tensor]) -> dict[str, float]:
    """Return, by parameter, how far pieces of it are from the full tensor."""
    found: dict[str, float] = {}
    for piece, values in pieces:
        whole = full[piece.name]
        part = piece.slice.cut(whole).flatten()[piece.start : piece.stop]
        error = float((values - part).abs().max() / whole.abs().max())
        found[piece.name] = max(
            found.get(piece.name, 0.0), math.inf if math.isnan(error) else error
        )
    return found


def check_covered(ranks: list[list[tuple[Piece, Tensor]]], full: dict[str, Tensor]) -> None:
    """Check that every number of every parameter is held, and so was compared, on some rank."""
    held = {name: torch.zeros(whole.numel() + 1, dtype=torch.bool) for name, whole in full.items()}
    for piece, _ in (entry for rank in ranks for entry in rank):
        shape = full[piece.name].shape
        place = torch.arange(1, shape.numel() + 1).view(shape)  # padding is cut out as 0
        held[piece.name][piece.slice.cut(place).flatten()[piece.start : piece.stop]] = True
    missing = [name for name, numbers in held.items() if not numbers[1:].all()]
    assert not missing, f"no rank holds all of {missing}"
