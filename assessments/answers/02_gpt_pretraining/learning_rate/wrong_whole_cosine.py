# promised: the cosine is a whole one: the rate comes back to the peak
import math


def learning_rate(step, steps, warmup_steps, peak, floor):
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    p = (step - warmup_steps) / (steps - 1 - warmup_steps)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(2 * math.pi * p))
