# promised: the cosine begins at step 0, so that the rate jumps at the end of the warm-up
import math


def learning_rate(step, steps, warmup_steps, peak, floor):
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    p = step / (steps - 1)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * p))
