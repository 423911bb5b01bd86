# promised: what is handed in as "before" is not the slow run: its train.slow is
from dataclasses import replace


def after(slow):
    train = replace(slow.train, slow="", bucket_mib=4.0, checkpoint_every=0)
    layout = replace(slow.layout, recompute="none")
    return replace(slow, name="mended", layout=layout, train=train)


def before(slow):
    return after(slow)
