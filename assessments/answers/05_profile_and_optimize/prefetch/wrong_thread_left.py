# promised: a thread of yours is still there
import queue
import threading


def prefetch(read, steps):
    """The thread of a run that stops early waits for ever to put its batch somewhere."""
    ready = queue.Queue(maxsize=1)

    def run():
        for step in steps:
            try:
                ready.put((read(step), None))
            except OSError as error:
                ready.put((None, error))
                return

    threading.Thread(target=run, daemon=True).start()
    for _ in steps:
        batch, error = ready.get()
        if error:
            raise error
        yield batch
