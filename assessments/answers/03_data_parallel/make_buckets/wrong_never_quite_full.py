# promised: bucket 0 has only 256 bytes and norm.weight would still fit: more messages than needed


def make_buckets(parameters, bucket_bytes):
    buckets, bucket, filled = [], [], 0
    for parameter in reversed(list(parameters)):
        size = parameter.numel() * parameter.element_size()
        if bucket and filled + size >= bucket_bytes:
            buckets.append(bucket)
            bucket, filled = [], 0
        bucket.append(parameter)
        filled += size
    return [*buckets, bucket]
