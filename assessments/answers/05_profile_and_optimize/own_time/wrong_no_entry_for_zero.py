# promised: is missing: every name has an entry
def own_time(regions):
    own, around = {}, []
    for name, start, stop in regions:
        while around and around[-1][1] <= start:
            around.pop()
        own[name] = own.get(name, 0) + stop - start
        if around:
            own[around[-1][0]] -= stop - start
        around.append((name, stop))
    return {name: time for name, time in own.items() if time > 6}
