# promised: a deadlock: every rank waits for another
import torch

from course_lib.parallel.comm import Receive, Send, exchange


def all_reduce(tensor, axis):
    """Each rank first waits for what its neighbour sends afterwards."""
    came = torch.empty_like(tensor)
    right, left = (axis.rank + 1) % axis.size, (axis.rank - 1) % axis.size
    exchange([Receive(came, left)], axis)[0].wait()
    exchange([Send(tensor, right)], axis)[0].wait()
    return tensor + came
