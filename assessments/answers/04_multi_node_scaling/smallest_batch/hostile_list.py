# promised: returned an object of type list, and a number is wanted


def smallest_batch(sequence_s, sum_s, ranks, micro_batch, share):
    return [0] * 1_000_000
