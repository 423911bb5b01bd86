# right
import math


def optimal_parameters(flops, A, B, alpha, beta):
    """Where one percent of N gains as much as one percent of D loses."""
    low, high = 0.0, math.log(flops / 6)
    for _ in range(200):
        n = (low + high) / 2
        d = math.log(flops / 6) - n
        gains = math.log(alpha * A) - alpha * n > math.log(beta * B) - beta * d
        low, high = (n, high) if gains else (low, n)
    return math.exp(low)
