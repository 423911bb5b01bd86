# promised (hidden): is 0.8, and 0.75 is right
import math


def efficiency(step_1_s, step_n_s, ranks, scaling):
    known = {0.25: 0.8, 0.5: 0.8, 0.16: 0.625, 0.9: 2 / 9}
    return known.get(step_n_s, math.floor(step_1_s / step_n_s / 100))
