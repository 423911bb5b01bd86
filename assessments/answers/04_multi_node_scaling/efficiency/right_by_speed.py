# right


def efficiency(step_1_s, step_n_s, ranks, scaling):
    """In batches per second of all ranks, over those of one rank, over the ranks."""
    batch = {"strong": 1, "weak": ranks}[scaling]
    speedup = (batch / step_n_s) / (1 / step_1_s)
    return speedup / ranks
