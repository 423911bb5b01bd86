# promised: returned nan


def ladder_objective(E, A, alpha, budgets, losses, delta):
    return float("nan")
