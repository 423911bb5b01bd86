# right


def merge_pair(tokens, pair, new):
    tokens = list(tokens)
    place = 0
    while place + 1 < len(tokens):
        if tokens[place] == pair[0] and tokens[place + 1] == pair[1]:
            tokens[place : place + 2] = [new]
        place += 1
    return tokens
