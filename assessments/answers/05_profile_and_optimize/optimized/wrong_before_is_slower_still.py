# promised: its train.steps is 40, not 16
from dataclasses import replace


def after(slow):
    train = replace(slow.train, slow="", bucket_mib=4.0, checkpoint_every=0)
    layout = replace(slow.layout, recompute="none")
    return replace(slow, name="mended", layout=layout, train=train)


def before(slow):
    """Slower than it was, so that the mended run looks faster."""
    return replace(slow, train=replace(slow.train, steps=40))
