# right


def training_days(parameters, tokens, num_gpus, flops_per_gpu):
    flops_of_a_day = flops_per_gpu * 60 * 60 * 24
    gpu_days = 2 * 4 * parameters * tokens / flops_of_a_day
    return gpu_days / num_gpus
