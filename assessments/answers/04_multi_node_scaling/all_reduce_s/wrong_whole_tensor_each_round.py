# promised: in a ring each message is only a piece


def all_reduce_s(num_bytes, ranks, alpha_s, beta):
    return 0.0 if ranks == 1 else alpha_s + 2 * (ranks - 1) * num_bytes * beta
