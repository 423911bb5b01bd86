# promised: those are seconds: a day has 24 * 3600. And: 6 FLOPs per parameter and token


def training_days(parameters, tokens, num_gpus, flops_per_gpu):
    return 6 * tokens * parameters / (num_gpus * flops_per_gpu)
