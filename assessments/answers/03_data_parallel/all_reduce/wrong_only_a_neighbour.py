# promised: with 10 numbers on 4 ranks, rank 0 has rank 0's numbers once, rank 1's numbers not at
# all
import torch

from course_lib.parallel.comm import Receive, Send, exchange


def all_reduce(tensor, axis):
    came = torch.empty_like(tensor)
    right, left = (axis.rank + 1) % axis.size, (axis.rank - 1) % axis.size
    for pending in exchange([Send(tensor, right), Receive(came, left)], axis):
        pending.wait()
    return tensor + came
