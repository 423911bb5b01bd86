# promised: went to memory and back
import torch


def attention(q, k, v):
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    future = torch.full(scores.shape[-2:], float("-inf"), dtype=q.dtype).triu(1)
    return torch.softmax(scores + future, dim=-1) @ v
