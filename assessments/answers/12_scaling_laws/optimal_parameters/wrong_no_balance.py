# promised: G is left out


def optimal_parameters(flops, A, B, alpha, beta):
    return (flops / 6) ** (beta / (alpha + beta))
