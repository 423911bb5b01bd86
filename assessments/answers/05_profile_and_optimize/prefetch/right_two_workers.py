# right
from collections import deque
from concurrent.futures import ThreadPoolExecutor


def prefetch(read, steps):
    """Two ahead."""
    with ThreadPoolExecutor(max_workers=2) as threads:
        coming = deque(threads.submit(read, step) for step in steps[:2])
        for step in steps:
            batch = coming.popleft().result()
            if step + 2 in steps:
                coming.append(threads.submit(read, step + 2))
            yield batch
