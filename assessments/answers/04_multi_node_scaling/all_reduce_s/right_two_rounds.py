# right


def all_reduce_s(num_bytes, ranks, alpha_s, beta):
    rounds = 2 * (ranks - 1)
    piece = num_bytes / ranks
    return (rounds > 0) * alpha_s + sum(piece * beta for _ in range(rounds))
