# promised: beta is 8x too small: bits or bytes?
import numpy


def fit_alpha_beta(sizes_bytes, seconds):
    bits = 8 * numpy.array(sizes_bytes)
    beta, alpha_s = numpy.polyfit(bits, seconds, 1, w=1 / numpy.array(seconds))
    return alpha_s, beta
