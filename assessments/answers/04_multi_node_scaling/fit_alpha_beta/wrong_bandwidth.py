# promised: the second number is a bandwidth
import numpy


def fit_alpha_beta(sizes_bytes, seconds):
    beta, alpha_s = numpy.polyfit(sizes_bytes, seconds, 1, w=1 / numpy.array(seconds))
    return alpha_s, 1 / beta
