# promised: that is the speed-up


def efficiency(step_1_s, step_n_s, ranks, scaling):
    if scaling == "strong":
        return step_1_s / step_n_s
    return ranks * step_1_s / step_n_s
