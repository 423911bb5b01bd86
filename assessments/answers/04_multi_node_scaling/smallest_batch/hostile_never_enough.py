# promised: rank 0 is busy at line


def smallest_batch(sequence_s, sum_s, ranks, micro_batch, share):
    batch = 0
    while sum_s > share * batch * 0:
        batch += 1
    return batch
