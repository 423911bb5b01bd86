# promised: beta is seconds per byte, so multiply


def all_reduce_s(num_bytes, ranks, alpha_s, beta):
    return 0.0 if ranks == 1 else alpha_s + 2 * (ranks - 1) / ranks * num_bytes / beta
