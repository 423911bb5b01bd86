# promised: the cosine is not halved: 1 + cos goes from 2 to 0
import math


def learning_rate(step, steps, warmup_steps, peak, floor):
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    p = (step - warmup_steps) / (steps - 1 - warmup_steps)
    return floor + (peak - floor) * (1 + math.cos(math.pi * p))
