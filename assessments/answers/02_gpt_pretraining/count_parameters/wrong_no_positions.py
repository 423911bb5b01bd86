# promised: is the position table missing, a row for each place?


def count_parameters(num_layers, d_model, vocab_size, seq_len):
    d = d_model
    return 12 * num_layers * d * d + (13 * num_layers + vocab_size + 2) * d
