# right


def make_buckets(parameters, bucket_bytes):
    buckets, bucket = [], []
    for parameter in parameters[::-1]:
        if bucket and sum(p.nbytes for p in [*bucket, parameter]) > bucket_bytes:
            buckets.append(tuple(bucket))
            bucket = []
        bucket.append(parameter)
    return (*buckets, tuple(bucket))
