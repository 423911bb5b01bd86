# promised: rank 0 is waiting for a message that never comes, as rank 1 is already back
import torch

from course_lib.parallel.comm import Receive, exchange


def all_reduce(tensor, axis):
    if axis.rank == 0:
        came = torch.empty_like(tensor)
        exchange([Receive(came, 1)], axis)[0].wait()
    return tensor
