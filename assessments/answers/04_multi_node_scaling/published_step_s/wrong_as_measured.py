# promised: is 3.52


def published_step_s(row, flops_per_s, alpha_s, beta):
    return row.step_s
