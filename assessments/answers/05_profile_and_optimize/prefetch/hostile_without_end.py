# promised: after the last of 5 steps there came another batch
import itertools
from concurrent.futures import ThreadPoolExecutor


def prefetch(read, steps):
    with ThreadPoolExecutor(max_workers=1) as thread:
        pending = thread.submit(read, steps[0])
        for step in itertools.count():
            if step in steps:
                batch = pending.result()
            if step + 1 in steps:
                pending = thread.submit(read, step + 1)
            yield batch
