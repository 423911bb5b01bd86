# promised: model.seq_len was 128 and is 64
from dataclasses import replace


def after(slow):
    train = replace(slow.train, slow="", bucket_mib=4.0, checkpoint_every=0)
    layout = replace(slow.layout, recompute="none")
    model = replace(slow.model, seq_len=64)
    return replace(slow, model=model, name="mended", layout=layout, train=train)
