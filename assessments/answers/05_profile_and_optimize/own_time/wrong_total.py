# promised: these are the total times
def own_time(regions):
    times = {}
    for name, start, stop in regions:
        times[name] = times.get(name, 0) + stop - start
    return times
