# A cell that never ends and does not listen.
# marks: mean_of_parts_test 0, weights_test 1.5
# ends: never
# said: it ignored the interrupt
import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
