# right
import torch

from course_lib.parallel import comm


def overlap_buckets(buckets, axis):
    """A bucket's parameters arrive in order, so its last one tells that it is full."""
    under_way = []

    def send(bucket):
        flat = torch.cat([p.grad.flatten() for p in bucket])
        under_way.append((bucket, flat, comm.start_all_reduce(flat, axis)))

    for bucket in buckets:
        left = {id(p) for p in bucket}
        again = set(left)

        def hook(p, bucket=bucket, left=left, again=again):
            left.remove(id(p))
            if not left:
                left.update(again)
                send(bucket)

        for p in bucket:
            p.register_post_accumulate_grad_hook(hook)

    def finish():
        while under_way:
            bucket, flat, pending = under_way.pop(0)
            pending.wait()
            for p, part in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
                p.grad = part.view_as(p)

    return finish
