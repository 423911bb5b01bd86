# promised: begins the moment another stops counts as inside
def own_time(regions):
    """Takes a region that begins where another stops for one inside it."""
    own, around = {}, []
    for name, start, stop in regions:
        while around and around[-1][1] < start:
            around.pop()
        own[name] = own.get(name, 0) + stop - start
        if around:
            own[around[-1][0]] -= stop - start
        around.append((name, stop))
    return own
