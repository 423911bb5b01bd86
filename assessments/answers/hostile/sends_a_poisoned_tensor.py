# Sends a tensor file that runs a command when it is loaded.
# marks: mean_of_parts_test 0, weights_test 0
# said: no plain data
import io
import os

import torch

from course_lib.grade import border


class Poison:
    def __reduce__(self):
        return os.system, ("touch /tmp/poisoned",)


def poisoned(answer):
    stream = io.BytesIO()
    torch.save({"value": Poison()}, stream)
    return b"T" + stream.getvalue()


border.pack = poisoned
