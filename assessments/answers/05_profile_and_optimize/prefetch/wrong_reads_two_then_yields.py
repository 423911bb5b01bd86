# promised: training waited for both
def prefetch(read, steps):
    """Reads ahead, but training waits meanwhile."""
    batch = read(steps[0])
    for step in steps:
        following = read(step + 1) if step + 1 in steps else None
        yield batch
        batch = following
