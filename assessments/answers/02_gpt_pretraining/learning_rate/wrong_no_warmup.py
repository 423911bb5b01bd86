# promised: there is no warm-up: the rate is at its peak from the first step on
import math


def learning_rate(step, steps, warmup_steps, peak, floor):
    p = max(0, step - warmup_steps) / (steps - 1 - warmup_steps)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * p))
