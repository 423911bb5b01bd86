# right
import torch


def gradients_are_finite(gradients):
    """The largest number is no number if any is, and infinite if any is."""
    largest = torch.stack([gradient.abs().max() for gradient in gradients]).max()
    return bool(largest.isfinite())
