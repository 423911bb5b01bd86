# promised: with recompute=True the blocks go forward twice: four passes, not three


def flops_per_iteration(batch, seq_len, num_layers, d_model, vocab_size, recompute):
    matrices = 24 * batch * seq_len * num_layers * d_model**2
    attention = 4 * batch * seq_len**2 * num_layers * d_model
    return 3 * (matrices + attention + 2 * batch * seq_len * d_model * vocab_size)
