"""The reference of the parity tests: one process, one batch, no code of course_lib/parallel.

Loss and gradients come from the model and plain autograd on the whole batch, so an error in the
training step cannot be on both sides of the comparison.
"""

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F

from course_lib.config import RunConfig
from course_lib.model.gpt import GPT
from course_lib.model.init import init_weights
from course_lib.parallel.mesh import Mesh
from course_lib.parallel.parallelize import Reduce, parallelize
from course_lib.presets import tiny
from course_lib.train.step import compute_gradients
from course_lib.train.tokens import Windows, share

RTOL = 1e-9


def run_config(global_batch: int = 8, micro_batch: int = 1) -> RunConfig:
    """Return a run small enough for float64 gradients in milliseconds."""
    run = tiny()
    model = dataclasses.replace(run.model, vocab_size=64, seq_len=16)
    train = dataclasses.replace(run.train, global_batch=global_batch, micro_batch=micro_batch)
    return dataclasses.replace(run, model=model, train=train)


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


def reference(run: RunConfig, step: int = 0) -> tuple[float, dict[str, torch.Tensor]]:
    """Return loss and every full gradient of the mean token loss of a step's global batch."""
    model = build_model(run)
    data = windows(run)
    tokens = data.read(data.of_step(step, run.train.global_batch))
    logits = model(tokens[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    return loss.item(), _gradients(model)


def on_mesh(
    mesh: Mesh, run: RunConfig, reduce: Reduce | None = None, wrong_share: bool = False
) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the same from the real training step on this rank of a mesh.

    `wrong_share` plants a bug: every rank takes the part of the batch that is rank 0's.
    """
    model = build_model(run)
    parallel = parallelize(model, run, mesh, **({} if reduce is None else {"reduce": reduce}))
    data = windows(run)
    rank = 0 if wrong_share else mesh.dp.rank
    mine = share(data.of_step(0, run.train.global_batch), mesh.dp.size, rank)
    loss = compute_gradients(
        parallel,
        data.read(mine),
        micro_batch=run.train.micro_batch,
        global_tokens=run.train.global_batch * run.model.seq_len,
    )
    return loss, _gradients(model)


def differences(
    actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]
) -> dict[str, float]:
    """Return for every weight the largest gradient error, relative to its largest gradient.

    Relative to the tensor and not to each element: some true gradients are zero (a bias added to
    all keys changes no attention weight), and noise divided by noise proves nothing.
    """
    assert actual.keys() == expected.keys()
    return {
        name: float((actual[name] - expected[name]).abs().max() / expected[name].abs().max())
        for name in expected
    }


def _gradients(model: GPT) -> dict[str, torch.Tensor]:
    gradients = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        gradients[name] = parameter.grad.clone()
    return gradients
