# promised: a multiple of the ranks only
import math


def smallest_batch(sequence_s, sum_s, ranks, micro_batch, share):
    return max(1, math.ceil(sum_s * (1 - share) / share / sequence_s)) * ranks
