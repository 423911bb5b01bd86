# promised: the sum of the gradients costs nothing here


def tokens_per_s(tokens, compute_s, gradient_bytes, ranks, alpha_s, beta):
    return tokens / compute_s
