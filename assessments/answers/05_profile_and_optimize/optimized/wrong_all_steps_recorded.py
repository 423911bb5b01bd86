# promised: too few steps beside those recorded
from dataclasses import replace


def after(slow):
    from course_lib.config import ProfileConfig

    train = replace(slow.train, slow="", bucket_mib=4.0, checkpoint_every=0)
    layout = replace(slow.layout, recompute="none")
    profile = ProfileConfig(steps="2:16")
    return replace(slow, name="mended", layout=layout, train=train, profile=profile)


step_s = None
