# promised: your function returned None: return the tensor with the sum
import torch

from course_lib.parallel.comm import Receive, Send, exchange


def all_reduce(tensor, axis):
    came = torch.empty_like(tensor)
    right, left = (axis.rank + 1) % axis.size, (axis.rank - 1) % axis.size
    for pending in exchange([Send(tensor, right), Receive(came, left)], axis):
        pending.wait()
    tensor += came
