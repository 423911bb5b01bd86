# promised: that is a line through the logarithms
import numpy


def fit_alpha_beta(sizes_bytes, seconds):
    slope, start = numpy.polyfit(numpy.log(sizes_bytes), numpy.log(seconds), 1)
    return numpy.exp(start), slope
