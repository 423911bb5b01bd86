# right
from collections import defaultdict


def own_time(regions):
    """The one around is the last that began before and has not stopped."""
    own = defaultdict(int)
    for place, (name, start, stop) in enumerate(regions):
        own[name] += stop - start
        for outer, begin, end in reversed(regions[:place]):
            if begin <= start and stop <= end:
                own[outer] -= stop - start
                break
    return dict(own)
