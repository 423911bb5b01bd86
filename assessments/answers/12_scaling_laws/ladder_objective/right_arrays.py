# right
import numpy as np


def ladder_objective(E, A, alpha, budgets, losses, delta):
    law = E + A / np.power(budgets, alpha)
    r = np.abs(np.log(law / np.array(losses)))
    return np.where(r < delta, 0.5 * r * r, delta * r - delta**2 / 2).sum()
