# promised: the factor 2 is missing: the ring goes round twice


def all_reduce_s(num_bytes, ranks, alpha_s, beta):
    if ranks == 1:
        return 0.0
    return alpha_s + (ranks - 1) / ranks * num_bytes * beta
