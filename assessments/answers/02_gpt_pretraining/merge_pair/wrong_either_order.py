# promised: the pair (2, 1) is merged as well: the order counts


def merge_pair(tokens, pair, new):
    merged, place = [], 0
    while place < len(tokens):
        if sorted(tokens[place : place + 2]) == sorted(pair):
            merged.append(new)
            place += 2
        else:
            merged.append(tokens[place])
            place += 1
    return merged
