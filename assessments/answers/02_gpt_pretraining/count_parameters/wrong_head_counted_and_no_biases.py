# promised: biases and norms are missing, the lines with one number in the list above. And the head
# is counted, too, but it is tied


def count_parameters(num_layers, d_model, vocab_size, seq_len):
    tables = (2 * vocab_size + seq_len) * d_model
    return 12 * num_layers * d_model**2 + tables
