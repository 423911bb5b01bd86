# right


def tokens_per_s(tokens, compute_s, gradient_bytes, ranks, alpha_s, beta):
    step_s = compute_s
    if ranks != 1:
        step_s += alpha_s
        step_s += beta * gradient_bytes * (2 - 2 / ranks)
    return tokens * step_s**-1
