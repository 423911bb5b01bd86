# right


def merge_pair(tokens, pair, new):
    merged, skip = [], False
    for token, following in zip(tokens, [*tokens[1:], None], strict=False):
        if skip:
            skip = False
        elif (token, following) == pair:
            merged.append(new)
            skip = True
        else:
            merged.append(token)
    return merged
