# promised: The last bucket is part of the result too, full or not


def make_buckets(parameters, bucket_bytes):
    buckets, bucket = [], []
    for parameter in parameters[::-1]:
        if bucket and sum(p.nbytes for p in [*bucket, parameter]) > bucket_bytes:
            buckets.append(bucket)
            bucket = []
        bucket.append(parameter)
    return buckets
