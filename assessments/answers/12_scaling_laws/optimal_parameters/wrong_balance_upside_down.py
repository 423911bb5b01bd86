# promised: G is upside down


def optimal_parameters(flops, A, B, alpha, beta):
    balance = (beta * B / (alpha * A)) ** (1 / (alpha + beta))
    return balance * (flops / 6) ** (beta / (alpha + beta))
