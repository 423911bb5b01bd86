# right


def training_days(parameters, tokens, num_gpus, flops_per_gpu):
    seconds = 8 * tokens * parameters / (num_gpus * flops_per_gpu)
    return seconds / (24 * 3600)
