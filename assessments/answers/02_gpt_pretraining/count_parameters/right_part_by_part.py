# right


def count_parameters(num_layers, d_model, vocab_size, seq_len):
    matrices = (3 + 1 + 4 + 4) * d_model**2
    biases = (3 + 1 + 4 + 1) * d_model
    norms = 2 * 2 * d_model
    tables = (vocab_size + seq_len) * d_model
    return num_layers * (matrices + biases + norms) + tables + 2 * d_model
