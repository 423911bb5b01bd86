# promised: the 6 of C = 6 N D is missing


def optimal_parameters(flops, A, B, alpha, beta):
    balance = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    return balance * flops ** (beta / (alpha + beta))
