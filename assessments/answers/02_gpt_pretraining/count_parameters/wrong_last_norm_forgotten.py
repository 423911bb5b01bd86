# promised: is the last layer norm missing, after all blocks?


def count_parameters(num_layers, d_model, vocab_size, seq_len):
    d = d_model
    return 12 * num_layers * d * d + (13 * num_layers + vocab_size + seq_len) * d
