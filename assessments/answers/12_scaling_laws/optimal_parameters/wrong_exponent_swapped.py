# promised: swapped in the exponent


def optimal_parameters(flops, A, B, alpha, beta):
    balance = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    return balance * (flops / 6) ** (alpha / (alpha + beta))
