# promised: bucket 0 is empty


def make_buckets(parameters, bucket_bytes):
    buckets, filled = [[]], 0
    for parameter in reversed(list(parameters)):
        if filled + parameter.nbytes > bucket_bytes:
            buckets.append([])
            filled = 0
        buckets[-1].append(parameter)
        filled += parameter.nbytes
    return buckets
