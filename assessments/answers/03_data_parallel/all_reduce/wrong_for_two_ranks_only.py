# promised: of dp, whose ranks are 0 to 3

import torch

from course_lib.parallel import comm
from course_lib.parallel.comm import Receive, Send


def all_reduce(tensor, axis):
    other = 1 - axis.rank
    came = torch.empty_like(tensor)
    for pending in comm.exchange([Receive(came, other), Send(tensor, other)], axis):
        pending.wait()
    return tensor + came
