# promised: not done after 4 s: ranks 0 and 1 are still busy. An endless loop?


def average_gradients(model, mesh, num_tokens):
    while num_tokens:
        num_tokens += 1
