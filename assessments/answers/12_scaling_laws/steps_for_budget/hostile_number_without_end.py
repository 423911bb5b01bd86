# promised: returned inf


def steps_for_budget(flops, num_layers, d_model, vocab_size, batch_tokens):
    return 10**400
