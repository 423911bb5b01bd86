# promised: your function returned None
import numpy


def fit_alpha_beta(sizes_bytes, seconds):
    beta, alpha_s = numpy.polyfit(sizes_bytes, seconds, 1, w=1 / numpy.array(seconds))
