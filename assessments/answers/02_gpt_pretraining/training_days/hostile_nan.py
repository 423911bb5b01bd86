# promised: your function returned a number that is no finite number (nan or inf)


def training_days(parameters, tokens, num_gpus, flops_per_gpu):
    return float("nan")
