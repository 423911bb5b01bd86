# promised: rounded up


def steps_for_budget(flops, num_layers, d_model, vocab_size, batch_tokens):
    n = 12 * num_layers * d_model**2 + vocab_size * d_model
    return -int(-flops // (6 * n * batch_tokens))
