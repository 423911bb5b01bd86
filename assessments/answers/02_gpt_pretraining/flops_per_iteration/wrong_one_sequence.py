# promised: is the number of sequences missing?


def flops_per_iteration(batch, seq_len, num_layers, d_model, vocab_size, recompute):
    block = 12 * d_model**2 + 2 * seq_len * d_model
    entries = num_layers * block * (4 if recompute else 3) + 3 * vocab_size * d_model
    return 2 * entries * seq_len
