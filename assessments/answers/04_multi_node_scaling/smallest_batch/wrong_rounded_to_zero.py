# promised: rounded down, to 0


def smallest_batch(sequence_s, sum_s, ranks, micro_batch, share):
    batch = ranks * sum_s * (1 - share) / share / sequence_s
    portion = ranks * micro_batch
    return batch // portion * portion
