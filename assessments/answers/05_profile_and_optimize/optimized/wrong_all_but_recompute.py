# promised: layout.recompute is still full
from dataclasses import replace


def after(slow):
    train = replace(slow.train, slow="", bucket_mib=4.0, checkpoint_every=0)
    layout = replace(slow.layout, recompute="full")
    return replace(slow, name="mended", layout=layout, train=train)


ratio = 4.0
