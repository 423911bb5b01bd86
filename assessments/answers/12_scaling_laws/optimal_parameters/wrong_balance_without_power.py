# promised: G lacks its power


def optimal_parameters(flops, A, B, alpha, beta):
    balance = alpha * A / (beta * B)
    return balance * (flops / 6) ** (beta / (alpha + beta))
