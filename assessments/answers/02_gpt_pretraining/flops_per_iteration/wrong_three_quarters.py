# promised: without recomputation it is not three quarters of everything: the head is computed three
# times in both cases


def flops_per_iteration(batch, seq_len, num_layers, d_model, vocab_size, recompute):
    B, s, layers, h, V = batch, seq_len, num_layers, d_model, vocab_size
    factor = 96 if recompute else 72
    return factor * B * s * layers * h**2 * (1 + s / (6 * h) + V / (16 * layers * h))
