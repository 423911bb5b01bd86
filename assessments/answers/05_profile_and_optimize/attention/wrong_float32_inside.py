# promised: right to a few digits only
import torch.nn.functional as F


def attention(q, k, v):
    y = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), is_causal=True)
    return y.to(q.dtype)
