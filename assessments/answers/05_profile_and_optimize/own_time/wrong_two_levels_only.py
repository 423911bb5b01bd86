# promised (hidden): in their places
def own_time(regions):
    """Right for regions in regions in regions, and no deeper."""
    own, around = {}, []
    for name, start, stop in regions:
        while around and around[-1][1] <= start:
            around.pop()
        own[name] = own.get(name, 0) + stop - start
        if around:
            own[around[-1][0]] -= stop - start
        if len(around) < 3:
            around.append((name, stop))
    return own
