# promised: your function returned an object of type Tensor: a number is wanted


def flops_per_iteration(batch, seq_len, num_layers, d_model, vocab_size, recompute):
    import torch

    return torch.zeros(3)
