# promised: the last token is lost where it is not part of a pair


def merge_pair(tokens, pair, new):
    merged, place = [], 0
    while place < len(tokens) - 1:
        if (tokens[place], tokens[place + 1]) == pair:
            merged.append(new)
            place += 2
        else:
            merged.append(tokens[place])
            place += 1
    return merged
