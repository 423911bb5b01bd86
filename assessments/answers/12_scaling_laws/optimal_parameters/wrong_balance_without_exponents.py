# promised: left out of G


def optimal_parameters(flops, A, B, alpha, beta):
    balance = (A / B) ** (1 / (alpha + beta))
    return balance * (flops / 6) ** (beta / (alpha + beta))
