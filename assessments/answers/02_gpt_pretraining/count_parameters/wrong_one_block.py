# promised: is only one block counted? There are num_layers of them


def count_parameters(num_layers, d_model, vocab_size, seq_len):
    d = d_model
    return 12 * d * d + (13 + vocab_size + seq_len + 2) * d
