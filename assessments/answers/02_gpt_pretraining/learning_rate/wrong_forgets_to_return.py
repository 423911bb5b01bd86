# promised: your function returned None: it must end with return and the number
import math


def learning_rate(step, steps, warmup_steps, peak, floor):
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    p = (step - warmup_steps) / (steps - 1 - warmup_steps)
    floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * p))
