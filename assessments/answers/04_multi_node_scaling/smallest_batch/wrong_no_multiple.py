# promised: that batch cannot be shared out
import math


def smallest_batch(sequence_s, sum_s, ranks, micro_batch, share):
    return math.ceil(ranks * sum_s * (1 - share) / share / sequence_s)
