# promised: flops_per_gpu is in FLOP/s already: 140 TFLOP/s come as 140e12


def training_days(parameters, tokens, num_gpus, flops_per_gpu):
    return 8 * tokens * parameters / (num_gpus * flops_per_gpu * 1e12) / 86400
