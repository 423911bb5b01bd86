# promised: the run is only 1.6 times faster, and 2 is the target
from dataclasses import replace


def after(slow):
    train = replace(slow.train, slow="", bucket_mib=4.0, checkpoint_every=0)
    layout = replace(slow.layout, recompute="none")
    return replace(slow, name="mended", layout=layout, train=train)


ratio = 1.6
