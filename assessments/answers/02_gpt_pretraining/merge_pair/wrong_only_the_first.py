# promised: only the first occurrence is merged; all of them must be


def merge_pair(tokens, pair, new):
    for place in range(len(tokens) - 1):
        if (tokens[place], tokens[place + 1]) == pair:
            return tokens[:place] + [new] + tokens[place + 2 :]
    return list(tokens)
