# promised: divided by sqrt(D)
import torch.nn.functional as F


def attention(q, k, v):
    d_model = q.shape[1] * q.shape[-1]
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=d_model**-0.5)
