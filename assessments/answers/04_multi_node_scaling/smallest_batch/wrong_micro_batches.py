# promised: that is the number of micro-batches of a rank
import math


def smallest_batch(sequence_s, sum_s, ranks, micro_batch, share):
    batch = ranks * sum_s * (1 - share) / share / sequence_s
    return max(1, math.ceil(batch / (ranks * micro_batch)))
