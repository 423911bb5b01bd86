# promised (hidden): with parameters=1,300,000,000, tokens=2.6e+10, num_gpus=8


def training_days(parameters, tokens, num_gpus, flops_per_gpu):
    """Right for the large clusters only."""
    seconds = 8 * tokens * parameters / (max(num_gpus, 32) * flops_per_gpu)
    return seconds / 86400
