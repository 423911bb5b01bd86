# promised: 10 numbers do not make 4 equal pieces
import torch

from course_lib.parallel.comm import Receive, Send, exchange


def all_reduce(tensor, axis):
    """Pieces of n // ranks numbers: the rest is forgotten."""
    n, rank = axis.size, axis.rank
    size = len(tensor) // n
    right, left = (rank + 1) % n, (rank - 1) % n
    pieces = [tensor[i * size : (i + 1) * size] for i in range(n)]
    for step in range(2 * (n - 1)):
        going, coming = pieces[(rank - step) % n], pieces[(rank - step - 1) % n]
        came = torch.empty_like(coming)
        for pending in exchange([Send(going, right), Receive(came, left)], axis):
            pending.wait()
        if step < n - 1:
            coming += came
        else:
            coming.copy_(came)
    return tensor
