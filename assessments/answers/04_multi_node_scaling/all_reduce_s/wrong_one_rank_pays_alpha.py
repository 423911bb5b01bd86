# promised: with one rank there is nobody to send to


def all_reduce_s(num_bytes, ranks, alpha_s, beta):
    return alpha_s + 2 * (ranks - 1) / ranks * num_bytes * beta
