# promised: raised ZeroDivisionError


def optimal_parameters(flops, A, B, alpha, beta):
    return flops / 0
