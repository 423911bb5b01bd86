# promised: strong scaling lacks the ranks


def efficiency(step_1_s, step_n_s, ranks, scaling):
    return step_1_s / step_n_s
