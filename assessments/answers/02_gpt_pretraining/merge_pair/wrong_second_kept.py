# promised: the second token of a pair is looked at once more: after a merge go on two places


def merge_pair(tokens, pair, new):
    merged, place = [], 0
    while place < len(tokens):
        merged.append(new if tuple(tokens[place : place + 2]) == pair else tokens[place])
        place += 1
    return merged
