# promised (hidden): a batch of 0 trains nothing
import math


def smallest_batch(sequence_s, sum_s, ranks, micro_batch, share):
    batch = ranks * sum_s * (1 - share) / share / sequence_s
    portion = ranks * micro_batch
    return math.ceil(batch / portion) * portion
