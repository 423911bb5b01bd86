# right
from statistics import median


def fit_alpha_beta(sizes_bytes, seconds):
    """No least squares: the small messages give alpha, the large ones beta."""
    points = sorted(zip(sizes_bytes, seconds, strict=True))
    alpha_s = beta = 0.0
    for _ in range(50):
        alpha_s = median(t - size * beta for size, t in points[:3])
        beta = median((t - alpha_s) / size for size, t in points[-2:])
    return alpha_s, beta
