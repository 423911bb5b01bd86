# promised: twice the tensor, whatever the number of ranks


def all_reduce_s(num_bytes, ranks, alpha_s, beta):
    return alpha_s + 2 * num_bytes * beta if ranks > 1 else 0
