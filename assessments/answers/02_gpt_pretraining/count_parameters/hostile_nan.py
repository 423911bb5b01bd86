# promised: your function returned a number that is no finite number (nan or inf)


def count_parameters(num_layers, d_model, vocab_size, seq_len):
    return float("nan")
