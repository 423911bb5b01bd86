# promised: not done after
import time


def ladder_objective(E, A, alpha, budgets, losses, delta):
    time.sleep(3600)
