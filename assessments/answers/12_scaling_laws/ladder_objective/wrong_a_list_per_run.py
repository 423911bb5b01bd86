# promised: object of type list
import math


def ladder_objective(E, A, alpha, budgets, losses, delta):
    return [abs(math.log((E + A * x**-alpha) / y)) for x, y in zip(budgets, losses, strict=True)]
