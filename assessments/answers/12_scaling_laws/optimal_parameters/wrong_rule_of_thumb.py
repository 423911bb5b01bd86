# promised: rule of thumb of 20 tokens


def optimal_parameters(flops, A, B, alpha, beta):
    return (flops / 120) ** 0.5
