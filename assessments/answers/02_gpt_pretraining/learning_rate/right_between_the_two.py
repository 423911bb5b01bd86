# right
import math


def learning_rate(step, steps, warmup_steps, peak, floor):
    if step < warmup_steps:
        return peak / warmup_steps * (step + 1)
    done = (step - warmup_steps) / ((steps - 1) - warmup_steps)
    weight = math.cos(math.pi / 2 * done) ** 2
    return weight * peak + (1 - weight) * floor
