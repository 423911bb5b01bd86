# promised: your function returned an object of type complex: a number is wanted


def training_days(parameters, tokens, num_gpus, flops_per_gpu):
    return 1j * tokens
