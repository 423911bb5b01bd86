# promised: your function raised KeyError


def efficiency(step_1_s, step_n_s, ranks, scaling):
    return {}[scaling]
