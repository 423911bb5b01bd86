# promised: nothing is merged: the tokens come back as they were


def merge_pair(tokens, pair, new):
    merged, place = [], 0
    while place < len(tokens):
        if tokens[place : place + 2] == pair:
            merged.append(new)
            place += 2
        else:
            merged.append(tokens[place])
            place += 1
    return merged
