# promised: raised IndexError: list index out of range


def merge_pair(tokens, pair, new):
    merged, place = [], 0
    while place < len(tokens):
        if (tokens[place], tokens[place + 1]) == pair:
            merged.append(new)
            place += 2
        else:
            merged.append(tokens[place])
            place += 1
    return merged
