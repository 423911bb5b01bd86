# right
def own_time(regions):
    """Give each moment to the region that began last and is still open."""
    own = {name: 0 for name, _, _ in regions}
    for moment in range(max(stop for _, _, stop in regions)):
        inside = [name for name, start, stop in regions if start <= moment < stop]
        if inside:
            own[inside[-1]] += 1
    return own
