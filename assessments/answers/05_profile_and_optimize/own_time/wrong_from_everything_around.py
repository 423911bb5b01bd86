# promised: a region is taken away from everything around it
def own_time(regions):
    own, around = {}, []
    for name, start, stop in regions:
        around = [(outer, end) for outer, end in around if end > start]
        own[name] = own.get(name, 0) + stop - start
        for outer, _ in around:
            own[outer] -= stop - start
        around.append((name, stop))
    return own
