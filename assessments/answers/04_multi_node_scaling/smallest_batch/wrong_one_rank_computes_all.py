# promised: a rank computes batch / ranks sequences of a step
import math


def smallest_batch(sequence_s, sum_s, ranks, micro_batch, share):
    batch = sum_s * (1 - share) / share / sequence_s
    portion = ranks * micro_batch
    return max(1, math.ceil(batch / portion)) * portion
