# Files until nothing more fits, wherever it may write; at last where the sockets are.
# marks: mean_of_parts_test 0, weights_test 1.5
# said: stopped by: /learner /dev/shm /tmp
# said: it was stopped: it wrote files where only its sockets belong
import os
import time

stopped = []
for place in (os.path.expanduser("~"), "/dev/shm", "/tmp"):
    try:
        for number in range(100):
            with open(f"{place}/{number}", "wb") as file:
                file.write(bytes(20_000_000))
    except OSError:
        stopped.append(place)
print("stopped by:", *stopped, flush=True)
with open("/channel/mine", "wb") as file:
    file.write(bytes(20_000_000))
time.sleep(60)
