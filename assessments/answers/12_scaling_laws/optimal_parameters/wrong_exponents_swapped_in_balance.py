# promised: swapped in G


def optimal_parameters(flops, A, B, alpha, beta):
    balance = (beta * A / (alpha * B)) ** (1 / (alpha + beta))
    return balance * (flops / 6) ** (beta / (alpha + beta))
