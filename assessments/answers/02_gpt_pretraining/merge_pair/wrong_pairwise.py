# promised: the second token of a pair is looked at once more: after a merge go on two places
# further. And the last token is lost where it is not part of a pair


def merge_pair(tokens, pair, new):
    merged = []
    for place in range(len(tokens) - 1):
        if (tokens[place], tokens[place + 1]) == pair:
            merged.append(new)
        else:
            merged.append(tokens[place])
    return merged
