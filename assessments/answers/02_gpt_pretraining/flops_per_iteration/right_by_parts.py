# right


def flops_per_iteration(batch, seq_len, num_layers, d_model, vocab_size, recompute):
    matrices = 24 * batch * seq_len * num_layers * d_model**2
    attention = 4 * batch * seq_len**2 * num_layers * d_model
    head = 2 * batch * seq_len * d_model * vocab_size
    passes = 4 if recompute else 3
    return passes * (matrices + attention) + 3 * head
