# promised: those are the tokens


def optimal_parameters(flops, A, B, alpha, beta):
    balance = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    return (flops / 6) ** (alpha / (alpha + beta)) / balance
