# promised: returned None
def prefetch(read, steps):
    for step in steps:
        read(step)
