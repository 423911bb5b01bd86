# promised: a bucket holds an object of type Tensor that is none of the parameters


def make_buckets(parameters, bucket_bytes):
    return [[parameter.flatten()] for parameter in reversed(parameters)]
