# promised: those are seconds: a day has 24 * 3600


def training_days(parameters, tokens, num_gpus, flops_per_gpu):
    return 8 * tokens * parameters / (num_gpus * flops_per_gpu)
