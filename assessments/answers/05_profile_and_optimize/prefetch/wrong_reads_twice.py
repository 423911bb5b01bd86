# promised: was read twice
from concurrent.futures import ThreadPoolExecutor


def prefetch(read, steps):
    """Warms up the disk's cache, and then reads once more."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        for step in steps:
            batch = read(step)
            if step + 1 in steps:
                thread.submit(read, step + 1)
            yield batch
