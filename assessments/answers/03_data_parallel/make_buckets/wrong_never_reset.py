# promised: would still fit: more messages than needed


def make_buckets(parameters, bucket_bytes):
    """Forgets to begin at 0 again: from the second bucket on, each parameter is alone."""
    buckets, filled = [[]], 0
    for parameter in reversed(list(parameters)):
        filled += parameter.nbytes
        if filled > bucket_bytes and buckets[-1]:
            buckets.append([])
        buckets[-1].append(parameter)
    return buckets
