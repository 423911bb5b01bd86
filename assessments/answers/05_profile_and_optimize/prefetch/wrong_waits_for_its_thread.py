# promised: nobody read the next one
import threading


def prefetch(read, steps):
    """A thread, but one that is waited for at once."""
    for step in steps:
        box = []
        thread = threading.Thread(target=lambda step=step, box=box: box.append(read(step)))
        thread.start()
        thread.join()
        yield box[0]
