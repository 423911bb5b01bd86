# promised: of type generator: return a list of lists


def make_buckets(parameters, bucket_bytes):
    yield from ([parameter] for parameter in reversed(parameters))
