# promised: rank 0 is busy at line


def all_reduce_s(num_bytes, ranks, alpha_s, beta):
    while True:
        ranks += 1
