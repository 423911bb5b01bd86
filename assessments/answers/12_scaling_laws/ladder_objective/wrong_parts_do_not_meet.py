# promised: do not meet at delta
import math


def ladder_objective(E, A, alpha, budgets, losses, delta):
    total = 0.0
    for x, loss in zip(budgets, losses, strict=True):
        r = abs(math.log(E + A * x**-alpha) - math.log(loss))
        total += r**2 / 2 if r <= delta else delta * (r - delta)
    return total
