# right


def all_reduce_s(num_bytes, ranks, alpha_s, beta):
    if ranks == 1:
        return 0.0
    return alpha_s + 2 * (ranks - 1) / ranks * num_bytes * beta
