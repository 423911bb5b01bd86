# right
import torch

from course_lib.parallel.comm import Receive, Send, exchange


def all_reduce(tensor, axis):
    """Up a binary tree to rank 0, then down again."""
    came = torch.empty_like(tensor)
    width = 1
    while width < axis.size:
        if axis.rank % (2 * width) == width:
            move(Send(tensor, axis.rank - width), axis)
        elif axis.rank % (2 * width) == 0 and axis.rank + width < axis.size:
            move(Receive(came, axis.rank + width), axis)
            tensor += came
        width *= 2
    while width > 1:
        width //= 2
        if axis.rank % (2 * width) == width:
            move(Receive(tensor, axis.rank - width), axis)
        elif axis.rank % (2 * width) == 0 and axis.rank + width < axis.size:
            move(Send(tensor, axis.rank + width), axis)
    return tensor


def move(message, axis):
    exchange([message], axis)[0].wait()
