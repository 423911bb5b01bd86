# promised: your function returned a number that is far too large


def count_parameters(num_layers, d_model, vocab_size, seq_len):
    return 10**100_000
