# promised: rank 0's numbers once, rank 1's numbers once, rank 2's numbers 3 times
import torch

from course_lib.parallel.comm import Receive, Send, exchange


def all_reduce(tensor, axis):
    """Hands on the sum so far, where only what came last must go on."""
    right, left = (axis.rank + 1) % axis.size, (axis.rank - 1) % axis.size
    result = tensor.clone()
    for _ in range(axis.size - 1):
        came = torch.empty_like(result)
        for pending in exchange([Send(result, right), Receive(came, left)], axis):
            pending.wait()
        result = result + came
    return result
