# promised: only 4 of 5 batches came
from concurrent.futures import ThreadPoolExecutor


def prefetch(read, steps):
    with ThreadPoolExecutor(max_workers=1) as thread:
        pending = thread.submit(read, steps[0])
        for step in steps[1:]:
            batch = pending.result()
            pending = thread.submit(read, step)
            yield batch
