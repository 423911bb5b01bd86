# promised: a token's result changes with a token after it
import torch
import torch.nn.functional as F


def attention(q, k, v):
    """Lets a token see what comes after it, and hides what it should see."""
    mask = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool).triu()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
