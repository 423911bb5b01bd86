# promised: query, key and value are three matrices of d_model x d_model


def count_parameters(num_layers, d_model, vocab_size, seq_len):
    d = d_model
    return 10 * num_layers * d * d + (13 * num_layers + vocab_size + seq_len + 2) * d
