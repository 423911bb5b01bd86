# promised: every result is exactly 2x too small
import torch

from course_lib.parallel.comm import Receive, Send, exchange


def all_reduce(tensor, axis):
    others = [peer for peer in range(axis.size) if peer != axis.rank]
    came = {peer: torch.empty_like(tensor) for peer in others}
    messages = [Send(tensor, peer) for peer in others]
    messages += [Receive(came[peer], peer) for peer in others]
    for pending in exchange(messages, axis):
        pending.wait()
    return (tensor + sum(came.values())) / axis.size
