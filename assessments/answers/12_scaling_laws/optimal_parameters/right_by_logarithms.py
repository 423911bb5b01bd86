# right
import math


def optimal_parameters(flops, A, B, alpha, beta):
    log_n = math.log(alpha * A) - math.log(beta * B) + beta * math.log(flops / 6)
    return math.exp(log_n / (alpha + beta))
