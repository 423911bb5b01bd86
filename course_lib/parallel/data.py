"""Data parallelism: every rank has the whole model and a part of the batch.

The loss of a batch is a sum over its tokens, so its gradient is the sum of the gradients of the
parts: (...)+dp -> (...), one all-reduce. This is the naive form that lab 03 starts from: wait for
the whole backward pass, copy all gradients into one flat tensor, reduce it, copy back. One large
message instead of many small ones saves latency; what it cannot do is overlap with the backward
pass. Nothing is divided here: the one division is by the global token count, in train/step.py.
"""

import torch
from torch import nn

from course_lib.parallel import comm
from course_lib.parallel.mesh import Mesh


@torch.no_grad()
def sum_gradients(model: nn.Module, mesh: Mesh) -> None:
    """Replace every gradient (...)+dp by its sum over the dp axis (...), in place.

    Args:
        model: every rank holds all parameters, each with its gradient filled in.
        mesh: only its dp axis is used.
    """
    if mesh.dp.size == 1:
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    comm.all_reduce(flat, mesh.dp)
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
