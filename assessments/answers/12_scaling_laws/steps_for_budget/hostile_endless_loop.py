# promised: not done after


def steps_for_budget(flops, num_layers, d_model, vocab_size, batch_tokens):
    while True:
        pass
