# promised: not of their logarithms


def ladder_objective(E, A, alpha, budgets, losses, delta):
    total = 0.0
    for x, loss in zip(budgets, losses, strict=True):
        r = abs(E + A * x**-alpha - loss)
        total += r**2 / 2 if r <= delta else delta * (r - delta / 2)
    return total
