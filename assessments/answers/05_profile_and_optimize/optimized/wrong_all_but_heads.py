# promised: still in train.slow: heads
from dataclasses import replace


def after(slow):
    train = replace(slow.train, slow="heads", bucket_mib=4.0, checkpoint_every=0)
    layout = replace(slow.layout, recompute="none")
    return replace(slow, name="mended", layout=layout, train=train)


ratio = 4.0
