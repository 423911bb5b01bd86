# promised: your function returned a number that is no finite number (nan or inf)
import math


def learning_rate(step, steps, warmup_steps, peak, floor):
    return math.nan
