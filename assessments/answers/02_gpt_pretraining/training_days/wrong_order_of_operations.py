# promised: flops_per_gpu divides: faster GPUs need less time


def training_days(parameters, tokens, num_gpus, flops_per_gpu):
    return 8 * tokens * parameters / num_gpus * flops_per_gpu / 86400
