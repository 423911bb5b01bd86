# promised: that is in percent


def efficiency(step_1_s, step_n_s, ranks, scaling):
    best_s = step_1_s / ranks if scaling == "strong" else step_1_s
    return 100 * best_s / step_n_s
