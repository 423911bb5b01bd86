# promised: rank 0 is busy at line


def fit_alpha_beta(sizes_bytes, seconds):
    while True:
        pass
