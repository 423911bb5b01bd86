# right
from dataclasses import replace


def after(slow):
    """The stretch exercise handed in: it is the same training, too."""
    train = replace(slow.train, slow="", bucket_mib=1.0, checkpoint_every=20, micro_batch=8)
    layout = replace(slow.layout, recompute="selective")
    return replace(slow, name="faster", layout=layout, train=train)


ratio = 6.0
