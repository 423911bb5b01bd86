# promised: rank 0 is still busy. An endless loop?


def merge_pair(tokens, pair, new):
    place = 0
    while place < len(tokens):
        if tuple(tokens[place : place + 2]) == pair:
            place += 2
    return tokens
