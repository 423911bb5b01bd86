# promised: your function returned nan


def fit_alpha_beta(sizes_bytes, seconds):
    return float("nan"), 1e-9
