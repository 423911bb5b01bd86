# promised:  is right


def optimal_parameters(flops, A, B, alpha, beta):
    n = 0.0896 * (flops / 6) ** 0.5126
    return n
