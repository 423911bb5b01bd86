"""Matrix products in bf16, also on processors that have no bf16 instructions.

A CPU with AVX-512-BF16 or AMX multiplies bf16 matrices twice as fast as float32 ones. On any other
CPU torch falls back to a loop that is forty times slower. There the factors are widened to float32,
multiplied, and the product is rounded to bf16 again: the same rounding (bf16 hardware also sums in
float32), the memory of bf16, the speed of float32. Everything else passes straight through.
"""

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@functools.cache
def cpu_multiplies_bf16() -> bool:
    """Tell whether this processor has instructions for bf16 products."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def widened(tensor: Tensor) -> bool:
    """Tell whether products of this tensor have to be done in float32."""
    on_cpu = tensor.device.type == "cpu"
    return tensor.dtype is torch.bfloat16 and on_cpu and not cpu_multiplies_bf16()


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Return a @ b in the type of `a`, on the fastest path; for use in backward passes by hand."""
    if widened(a):
        return (a.float() @ b.float()).to(a.dtype)
    return a @ b


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x @ weight^T + bias: (..., in) and (out, in) give (..., out)."""
    if widened(x):
        return _WidenedLinear.apply(x, weight, bias)  # type: ignore[return-value]
    return F.linear(x, weight, bias)


def weight_gradient(x: Tensor, dy: Tensor) -> Tensor:
    """Return dy^T @ x summed over all leading dims: (..., in), (..., out) give (out, in)."""
    return matmul(dy.flatten(0, -2).t(), x.flatten(0, -2))


class _WidenedLinear(torch.autograd.Function):
    """The product in float32, with only the bf16 tensors remembered for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        wide_bias = None if bias is None else bias.float()
        return F.linear(x.float(), weight.float(), wide_bias).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = grads
        x, weight = ctx.saved_tensors
        wide = dy.float()  # once for both products
        dx = (wide @ weight.float()).to(x.dtype) if ctx.needs_input_grad[0] else None
        dweight = weight_gradient(x.float(), wide).to(weight.dtype)
        dbias = wide.flatten(0, -2).sum(0).to(dy.dtype) if ctx.has_bias else None
        return dx, dweight, dbias
