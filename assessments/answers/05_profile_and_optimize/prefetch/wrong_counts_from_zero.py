# promised (hidden): read was called with 0
from concurrent.futures import ThreadPoolExecutor


def prefetch(read, steps):
    """A run that goes on from a checkpoint does not begin at 0."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        pending = thread.submit(read, 0)
        for step in range(len(steps)):
            batch = pending.result()
            if step + 1 < len(steps):
                pending = thread.submit(read, step + 1)
            yield batch
