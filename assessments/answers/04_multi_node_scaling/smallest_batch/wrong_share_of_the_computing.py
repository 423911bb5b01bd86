# promised: there the sum is a share of the computing
import math


def smallest_batch(sequence_s, sum_s, ranks, micro_batch, share):
    batch = ranks * sum_s / share / sequence_s
    portion = ranks * micro_batch
    return max(1, math.ceil(batch / portion)) * portion
