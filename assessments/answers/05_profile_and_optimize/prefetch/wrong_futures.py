# promised: an object of type Future
from concurrent.futures import ThreadPoolExecutor


def prefetch(read, steps):
    with ThreadPoolExecutor(max_workers=1) as thread:
        for step in steps:
            yield thread.submit(read, step)
