# promised: the two are swapped: return alpha first, then beta
import numpy


def fit_alpha_beta(sizes_bytes, seconds):
    return numpy.polyfit(sizes_bytes, seconds, 1, w=1 / numpy.array(seconds))
