# promised: An endless loop?
def own_time(regions):
    while regions:
        pass
