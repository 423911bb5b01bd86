# promised: nobody read the next one
def prefetch(read, steps):
    for step in steps:
        yield read(step)
