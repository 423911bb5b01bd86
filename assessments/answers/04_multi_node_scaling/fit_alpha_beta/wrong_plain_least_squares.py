# promised: Plain least squares counts seconds
import numpy


def fit_alpha_beta(sizes_bytes, seconds):
    beta, alpha_s = numpy.polyfit(sizes_bytes, seconds, 1)
    return alpha_s, beta
