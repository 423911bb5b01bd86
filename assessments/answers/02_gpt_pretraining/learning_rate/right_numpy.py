# right
import numpy as np


def learning_rate(step, steps, warmup_steps, peak, floor):
    rise = np.linspace(0, peak, warmup_steps + 1)[1:]
    fall = floor + (peak - floor) * (1 + np.cos(np.linspace(0, np.pi, steps - warmup_steps))) / 2
    return np.concatenate([rise, fall])[step]
