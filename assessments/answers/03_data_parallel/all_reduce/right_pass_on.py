# right
import torch

from course_lib.parallel.comm import Receive, Send, exchange


def all_reduce(tensor, axis):
    right, left = (axis.rank + 1) % axis.size, (axis.rank - 1) % axis.size
    result, passing = tensor.clone(), tensor
    for _ in range(axis.size - 1):
        came = torch.empty_like(passing)
        for pending in exchange([Send(passing, right), Receive(came, left)], axis):
            pending.wait()
        result += came
        passing = came
    return result
