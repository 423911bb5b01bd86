# promised: are the layer norms missing? Each has a scale and a bias, and there is one at the end


def count_parameters(num_layers, d_model, vocab_size, seq_len):
    d = d_model
    return 12 * num_layers * d * d + (9 * num_layers + vocab_size + seq_len) * d
