# promised: 6 messages are kept after the first step, 12 after step 2: finish() has to empty its
import torch

from course_lib.parallel import comm


def overlap_buckets(buckets, axis):
    under_way, arrived = [], [0] * len(buckets)

    def watch(index, bucket):
        def hook(parameter):
            arrived[index] += 1
            if arrived[index] == len(bucket):
                arrived[index] = 0
                flat = torch.cat([p.grad.flatten() for p in bucket])
                under_way.append((bucket, flat, comm.start_all_reduce(flat, axis)))

        for parameter in bucket:
            parameter.register_post_accumulate_grad_hook(hook)

    def finish():
        for bucket, flat, pending in under_way:
            pending.wait()
            parts = flat.split([p.numel() for p in bucket])
            for p, part in zip(bucket, parts, strict=True):
                p.grad.copy_(part.view_as(p))

    for index, bucket in enumerate(buckets):
        watch(index, bucket)
    return finish
