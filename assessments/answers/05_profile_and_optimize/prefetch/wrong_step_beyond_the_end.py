# promised: read was called with 5
from concurrent.futures import ThreadPoolExecutor


def prefetch(read, steps):
    with ThreadPoolExecutor(max_workers=1) as thread:
        pending = thread.submit(read, steps[0])
        for step in steps:
            batch = pending.result()
            pending = thread.submit(read, step + 1)
            yield batch
        pending.result()
