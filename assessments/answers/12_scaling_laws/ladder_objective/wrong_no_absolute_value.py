# promised: compare the absolute value
import math


def ladder_objective(E, A, alpha, budgets, losses, delta):
    total = 0.0
    for x, loss in zip(budgets, losses, strict=True):
        r = math.log(E + A * x**-alpha) - math.log(loss)
        total += r**2 / 2 if r <= delta else delta * (r - delta / 2)
    return total
