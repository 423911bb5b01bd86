# promised: the pairs are taken from the right; go from left to right


def merge_pair(tokens, pair, new):
    merged, place = [], len(tokens) - 1
    while place >= 0:
        if place and (tokens[place - 1], tokens[place]) == pair:
            merged.append(new)
            place -= 2
        else:
            merged.append(tokens[place])
            place -= 1
    return merged[::-1]
