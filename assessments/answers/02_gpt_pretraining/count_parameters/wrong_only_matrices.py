# promised: are the biases of the four matrices missing? And: are the layer norms missing?


def count_parameters(num_layers, d_model, vocab_size, seq_len):
    d = d_model
    return 12 * num_layers * d * d + (vocab_size + seq_len) * d
