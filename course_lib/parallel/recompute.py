"""Activation recomputation: forget on the way forward, compute anew on the way back.

    none       every layer remembers what its backward needs
    selective  only the attention core, whose T x T weights are many bytes for few FLOPs, forgets
    full       a block remembers nothing but its input: least memory, a third more work

(Chen et al. 2016, arXiv:1604.06174; selective: Korthikanti et al. 2022, arXiv:2205.05198, section
5.)
"""

from contextlib import nullcontext
from typing import Literal

from torch import nn
from torch.utils.checkpoint import checkpoint

from course_lib.model.gpt import Attention, Block
from course_lib.profile.regions import region


def apply_recompute(model: nn.Module, mode: Literal["none", "selective", "full"]) -> None:
    """Let the attention cores or the blocks of a model recompute, in place."""
    for module in model.modules():
        if mode == "full" and isinstance(module, Block):
            module.forward = _recomputed(module.forward)  # type: ignore[method-assign]
        elif mode == "selective" and isinstance(module, Attention):
            module.core = _recomputed(module.core)


def _recomputed(function):
    def remember_little(*args):
        forward = True

        def compute(*args):
            nonlocal forward
            again, forward = not forward, False
            with region("recompute") if again else nullcontext():
                return function(*args)

        # There is no dropout, so there is no state of a random generator to bring back.
        return checkpoint(compute, *args, use_reentrant=False, preserve_rng_state=False)

    return remember_little
