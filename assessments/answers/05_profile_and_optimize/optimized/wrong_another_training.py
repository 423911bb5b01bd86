# promised: it is not the same training any more
from dataclasses import replace


def after(slow):
    train = replace(slow.train, slow="", bucket_mib=4.0, checkpoint_every=0)
    layout = replace(slow.layout, recompute="none")
    return replace(slow, name="mended", layout=layout, train=train)


last_loss = 1.05
