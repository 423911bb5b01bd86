# promised: alpha is counted for each of the ring's 2 (n - 1) messages


def all_reduce_s(num_bytes, ranks, alpha_s, beta):
    return 2 * (ranks - 1) * (alpha_s + num_bytes / ranks * beta)
