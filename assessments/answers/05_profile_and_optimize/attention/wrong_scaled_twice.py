# promised: divided by K, the head
import torch.nn.functional as F


def attention(q, k, v):
    q = q / q.shape[-1] ** 0.5
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)
