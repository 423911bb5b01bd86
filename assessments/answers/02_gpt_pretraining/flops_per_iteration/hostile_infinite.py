# promised: your function returned a number that is no finite number (nan or inf)


def flops_per_iteration(batch, seq_len, num_layers, d_model, vocab_size, recompute):
    return float("inf")
