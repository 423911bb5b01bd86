# promised: no token sees itself
import torch
import torch.nn.functional as F


def attention(q, k, v):
    future = torch.full((q.shape[-2], q.shape[-2]), float("-inf"), dtype=q.dtype).triu(0)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=future)
