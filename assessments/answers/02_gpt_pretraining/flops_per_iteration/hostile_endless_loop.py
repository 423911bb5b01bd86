# promised: rank 0 is still busy. An endless loop?


def flops_per_iteration(batch, seq_len, num_layers, d_model, vocab_size, recompute):
    while recompute:
        batch += 1
    return batch
