# promised: your function returned None: it must end with return and the new list


def merge_pair(tokens, pair, new):
    merged, place = [], 0
    while place < len(tokens):
        if tuple(tokens[place : place + 2]) == pair:
            merged.append(new)
            place += 2
        else:
            merged.append(tokens[place])
            place += 1
