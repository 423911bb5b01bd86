# promised: too little: those are the token table and the blocks' matrices; positions, biases and
# norms are missing


def count_parameters(num_layers, d_model, vocab_size, seq_len):
    return 12 * num_layers * d_model**2 + vocab_size * d_model
