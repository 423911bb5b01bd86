# promised: the first step has the rate 0, so that it changes nothing: step 0 is the first, it gets
# peak / warmup_steps. And the floor is left out
import math


def learning_rate(step, steps, warmup_steps, peak, floor):
    if step < warmup_steps:
        return peak * step / warmup_steps
    p = (step - warmup_steps) / (steps - 1 - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * p))
