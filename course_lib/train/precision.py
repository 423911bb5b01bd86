"""Dynamic loss scaling: what fp16 needs and bf16 does not.

fp16 cannot hold numbers below 6e-8, and many gradients are smaller. So the loss is multiplied by a
large factor before backward, and the gradient divided by it before the update (Micikevicius et al.
2018, arXiv:1710.03740, section 3.2). The factor is found by trying: too large, and the gradient
overflows; then the step is left out and the factor halved. After many good steps it is doubled.
"""

from dataclasses import dataclass

GROW_AFTER = 2000
SMALLEST = 1.0


@dataclass
class LossScale:
    """The factor; every rank changes it alike, since all see the same norm."""

    value: float = 2.0**16
    good_steps: int = 0

    def shrink(self) -> bool:
        """Halve the factor after an overflow; False when it cannot be the factor's fault."""
        self.good_steps = 0
        if self.value <= SMALLEST:
            return False
        self.value /= 2
        return True

    def grow(self) -> None:
        """Count a good step; double the factor after GROW_AFTER of them."""
        self.good_steps += 1
        if self.good_steps == GROW_AFTER:
            self.value *= 2
            self.good_steps = 0
