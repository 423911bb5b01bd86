# promised: strong and weak are swapped


def efficiency(step_1_s, step_n_s, ranks, scaling):
    best_s = step_1_s / ranks if scaling == "weak" else step_1_s
    return best_s / step_n_s
