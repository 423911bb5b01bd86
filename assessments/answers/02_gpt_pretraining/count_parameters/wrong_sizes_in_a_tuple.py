# promised: an object of type tuple: a number is wanted


def count_parameters(num_layers, d_model, vocab_size, seq_len):
    d = d_model
    return num_layers * (12 * d * d + 13 * d), (vocab_size + seq_len + 2) * d
