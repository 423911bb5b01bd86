# promised: weak scaling is divided by the ranks


def efficiency(step_1_s, step_n_s, ranks, scaling):
    return step_1_s / step_n_s / ranks
