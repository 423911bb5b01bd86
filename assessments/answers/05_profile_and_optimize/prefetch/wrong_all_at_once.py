# promised: batches were read before training wanted them
from concurrent.futures import ThreadPoolExecutor


def prefetch(read, steps):
    """Fills the memory: the thread does not wait for training."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        for pending in [thread.submit(read, step) for step in steps]:
            yield pending.result()
