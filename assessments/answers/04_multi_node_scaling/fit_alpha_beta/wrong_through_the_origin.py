# promised: alpha is 0: that is a line through the origin


def fit_alpha_beta(sizes_bytes, seconds):
    return 0.0, sum(seconds) / sum(sizes_bytes)
