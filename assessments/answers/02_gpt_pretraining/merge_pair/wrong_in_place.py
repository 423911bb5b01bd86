# promised: your function changed the list that it was given, [1, 2, 3, 1, 2]


def merge_pair(tokens, pair, new):
    place = 0
    while place + 1 < len(tokens):
        if (tokens[place], tokens[place + 1]) == pair:
            tokens[place : place + 2] = [new]
        place += 1
    return tokens
