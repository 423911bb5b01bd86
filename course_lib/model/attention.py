"""Causal attention, three ways; the fastest for a shape is found by trying.

    softmax(q k^T / sqrt(K), future masked) v

torch's SDPA never stores the T x T weights (FlashAttention, Dao et al. 2022, arXiv:2205.14135): it
is the best choice on GPUs, in float32, and for long sequences. In bf16 on a CPU its backward is
slow, and for short sequences two plain matrix products with a softmax between are nearly twice as
fast; on a CPU without bf16 instructions it is fastest to widen to float32. `fastest_attention`
measures.
"""

import functools
import time
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Attention = Literal["sdpa", "matmul", "float32"]


def sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Let torch choose the kernel: three times (B, H, T, K) -> (B, H, T, K)."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def by_matmul(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Multiply, mask, softmax, multiply: it stores weights (B, H, T, T), twice."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return torch.softmax(scores + _future(q.shape[-2], q.dtype, q.device), dim=-1) @ v


def in_float32(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Widen, attend, and round back."""
    return sdpa(q.float(), k.float(), v.float()).to(q.dtype)


ATTENTIONS: dict[Attention, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "sdpa": sdpa,
    "matmul": by_matmul,
    "float32": in_float32,
}


def fastest_attention(
    shape: tuple[int, int, int, int], dtype: torch.dtype, device: str
) -> Attention:
    """Return the name of the fastest core for q, k and v of a shape, forward and backward.

    Only bf16 on a CPU is a question, and only while the T x T weights of both directions stay
    small; it is answered by a measurement of some milliseconds.

    Args:
        shape: (B, H, T, K).
        dtype: of q, k and v.
        device: "cpu" or "cuda".
    """
    if device != "cpu" or dtype is not torch.bfloat16:
        return "sdpa"
    candidates: list[Attention] = ["sdpa", "float32"] if shape[2] > 1024 else list(ATTENTIONS)
    times_s: dict[Attention, float] = dict.fromkeys(candidates, float("inf"))
    for _ in range(3):
        for name in candidates:
            qkv = [torch.randn(shape).to(dtype).requires_grad_() for _ in range(3)]
            start_s = time.process_time()
            y = ATTENTIONS[name](*qkv)
            y.backward(torch.ones_like(y))
            times_s[name] = min(times_s[name], time.process_time() - start_s)
            if times_s[name] > 10 * min(times_s.values()):
                candidates = [other for other in candidates if other != name]
    return min(times_s, key=lambda name: times_s[name])


@functools.lru_cache(maxsize=4)
def _future(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return (T, T): minus infinity where a token would look at a later one, else 0."""
    return torch.full((length, length), float("-inf"), dtype=dtype, device=device).triu(1)
