# promised: rank 0 is right, but rank 1 is not: all ranks need the sum
import torch

from course_lib.parallel.comm import Receive, Send, exchange


def all_reduce(tensor, axis):
    if axis.rank > 0:
        exchange([Send(tensor, 0)], axis)[0].wait()
        return tensor
    for peer in range(1, axis.size):
        came = torch.empty_like(tensor)
        exchange([Receive(came, peer)], axis)[0].wait()
        tensor += came
    return tensor
