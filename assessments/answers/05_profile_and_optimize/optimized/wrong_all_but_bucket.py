# promised: train.bucket_mib is 0.02, so gradients still travel in
from dataclasses import replace


def after(slow):
    train = replace(slow.train, slow="", bucket_mib=0.02, checkpoint_every=0)
    layout = replace(slow.layout, recompute="none")
    return replace(slow, name="mended", layout=layout, train=train)


ratio = 4.0
