# promised: numbers were counted, not bytes


def make_buckets(parameters, bucket_bytes):
    buckets, filled = [], 0
    for parameter in reversed(list(parameters)):
        if not buckets or filled + parameter.numel() > bucket_bytes:
            buckets.append([])
            filled = 0
        buckets[-1].append(parameter)
        filled += parameter.numel()
    return buckets
