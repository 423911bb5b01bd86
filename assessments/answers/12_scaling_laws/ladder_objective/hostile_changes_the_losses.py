# promised: changes what it was given


def ladder_objective(E, A, alpha, budgets, losses, delta):
    losses.clear()
    return 0.0
