# right
import queue
import threading


def prefetch(read, steps):
    """One thread and a queue of one, which the thread never waits for without end."""
    ready, stop = queue.Queue(maxsize=1), threading.Event()

    def put(item):
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.01)
            except queue.Full:
                continue

    def run():
        for step in steps:
            if stop.is_set():
                return
            try:
                put((read(step), None))
            except Exception as error:
                put((None, error))
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        for _ in steps:
            batch, error = ready.get()
            if error is not None:
                raise error
            yield batch
    finally:
        stop.set()
        thread.join()
