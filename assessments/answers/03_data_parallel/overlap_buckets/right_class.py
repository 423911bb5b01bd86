# right
import torch

from course_lib.parallel import comm


class Bucket:
    """A bucket with memory of its own, of which each p.grad gets its part back."""

    def __init__(self, parameters, axis):
        self.parameters, self.axis = parameters, axis
        self.missing = set(parameters)
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(self.arrived)

    def arrived(self, parameter):
        self.missing.discard(parameter)
        if not self.missing:
            self.flat = torch.cat([p.grad.view(-1) for p in self.parameters])
            self.pending = comm.start_all_reduce(self.flat, self.axis)

    def finish(self):
        self.pending.wait()
        start = 0
        for p in self.parameters:
            p.grad = self.flat[start : start + p.numel()].view_as(p)
            start += p.numel()
        self.missing = set(self.parameters)


def overlap_buckets(buckets, axis):
    made = [Bucket(bucket, axis) for bucket in buckets]

    def finish():
        for bucket in made:
            bucket.finish()

    return finish
