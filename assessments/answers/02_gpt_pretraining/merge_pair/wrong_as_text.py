# promised: the tokens were merged as text, where the 1 of 11 or 21 looks like the token 1


def merge_pair(tokens, pair, new):
    text = " ".join(map(str, tokens)).replace(f"{pair[0]} {pair[1]}", str(new))
    return [int(word) for word in text.split()]
