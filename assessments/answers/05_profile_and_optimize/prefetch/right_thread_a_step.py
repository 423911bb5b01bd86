# right
import threading


def prefetch(read, steps):
    """A thread for each step, waited for before its batch is used."""

    def begin(step):
        box = {}

        def run():
            try:
                box["batch"] = read(step)
            except BaseException as error:
                box["error"] = error

        thread = threading.Thread(target=run)
        thread.start()
        return thread, box

    pending = None
    try:
        for step in steps:
            thread, box = pending or begin(step)
            thread.join()
            if "error" in box:
                pending = None
                raise box["error"]
            pending = begin(step + 1) if step + 1 in steps else None
            yield box["batch"]
    finally:
        if pending:
            pending[0].join()
