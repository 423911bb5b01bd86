# promised: 24x too large: those are hours: a day has 24


def training_days(parameters, tokens, num_gpus, flops_per_gpu):
    return 8 * tokens * parameters / (num_gpus * flops_per_gpu) / 3600
