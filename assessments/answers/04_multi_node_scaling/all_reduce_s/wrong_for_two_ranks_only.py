# promised: right for 2 ranks only


def all_reduce_s(num_bytes, ranks, alpha_s, beta):
    return alpha_s + num_bytes * beta
