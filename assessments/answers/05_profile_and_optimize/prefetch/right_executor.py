# right
from concurrent.futures import ThreadPoolExecutor


def prefetch(read, steps):
    with ThreadPoolExecutor(max_workers=1) as thread:
        ahead = [thread.submit(read, step) for step in steps[:1]]
        for step in steps:
            batch = ahead.pop().result()
            if step + 1 in steps:
                ahead.append(thread.submit(read, step + 1))
            yield batch
