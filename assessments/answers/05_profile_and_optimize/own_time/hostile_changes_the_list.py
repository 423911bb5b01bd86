# promised: changed the list
def own_time(regions):
    regions.clear()
    return {}
