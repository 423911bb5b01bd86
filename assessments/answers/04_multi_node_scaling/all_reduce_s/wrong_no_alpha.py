# promised: alpha is left out


def all_reduce_s(num_bytes, ranks, alpha_s, beta):
    return 2 * (ranks - 1) / ranks * num_bytes * beta
