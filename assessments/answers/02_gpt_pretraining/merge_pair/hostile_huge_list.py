# promised: your function returned 5,000,000 tokens, more than it was given


def merge_pair(tokens, pair, new):
    return [new] * 5_000_000
