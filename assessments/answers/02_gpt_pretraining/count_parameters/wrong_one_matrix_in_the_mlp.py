# promised: the MLP has two matrices: up and down


def count_parameters(num_layers, d_model, vocab_size, seq_len):
    d = d_model
    return 8 * num_layers * d * d + (13 * num_layers + vocab_size + seq_len + 2) * d
