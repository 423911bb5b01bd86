# promised: from the one that began before it
def own_time(regions):
    own, before = {}, None
    for name, start, stop in regions:
        own[name] = own.get(name, 0) + stop - start
        if before and start < before[1]:
            own[before[0]] -= stop - start
        before = (name, stop)
    return own
