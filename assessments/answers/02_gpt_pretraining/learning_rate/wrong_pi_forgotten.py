# promised: the pi of cos(pi * p) is missing: half a turn is math.pi
import math


def learning_rate(step, steps, warmup_steps, peak, floor):
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    p = (step - warmup_steps) / (steps - 1 - warmup_steps)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(p))
