# promised: your function raised AttributeError


def published_step_s(row, flops_per_s, alpha_s, beta):
    return row.flops / row.num_gpus / flops_per_s
