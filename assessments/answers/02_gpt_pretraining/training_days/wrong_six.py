# promised: 6 FLOPs per parameter and token are those without recomputation


def training_days(parameters, tokens, num_gpus, flops_per_gpu):
    return 6 * tokens * parameters / (num_gpus * flops_per_gpu) / 86400
