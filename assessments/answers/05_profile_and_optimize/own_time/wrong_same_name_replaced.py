# promised: add up all regions of a name
def own_time(regions):
    own = [stop - start for _, start, stop in regions]
    around = []
    for place, (_, start, stop) in enumerate(regions):
        while around and regions[around[-1]][2] <= start:
            around.pop()
        if around:
            own[around[-1]] -= stop - start
        around.append(place)
    return {name: time for (name, _, _), time in zip(regions, own, strict=True)}
