# promised: returned an object of type ndarray, and a number is wanted
import numpy


def tokens_per_s(tokens, compute_s, gradient_bytes, ranks, alpha_s, beta):
    return numpy.zeros(1_000_000)
