# promised: the result is not finite
def attention(q, k, v):
    return (q + k + v) * float("nan")
