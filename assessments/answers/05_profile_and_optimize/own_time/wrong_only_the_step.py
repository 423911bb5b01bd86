# promised: only the step is free of what runs inside it
def own_time(regions):
    own, end = {}, 0
    for name, start, stop in regions:
        own[name] = own.get(name, 0) + stop - start
        if name != "step" and start >= end:
            own["step"] -= stop - start
            end = stop
    return own
