# right


def smallest_batch(sequence_s, sum_s, ranks, micro_batch, share):
    batch = ranks * micro_batch
    while sum_s > share * (batch / ranks * sequence_s + sum_s):
        batch += ranks * micro_batch
    return batch
