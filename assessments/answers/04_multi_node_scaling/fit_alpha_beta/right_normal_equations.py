# right


def fit_alpha_beta(sizes_bytes, seconds):
    points = [(x, y, 1 / y**2) for x, y in zip(sizes_bytes, seconds, strict=True)]
    s, sx, sy, sxx, sxy = (
        sum(w * f(x, y) for x, y, w in points)
        for f in (
            lambda x, y: 1,
            lambda x, y: x,
            lambda x, y: y,
            lambda x, y: x * x,
            lambda x, y: x * y,
        )
    )
    beta = (s * sxy - sx * sy) / (s * sxx - sx * sx)
    return [(sy - beta * sx) / s, beta]
