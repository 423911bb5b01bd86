# promised (hidden): with num_layers=6, d_model=384, vocab_size=8,192, seq_len=256


def count_parameters(num_layers, d_model, vocab_size, seq_len):
    return {128: 1_071_872, 12: 2_628}.get(d_model, 17_820)
