# promised: a sum or a norm of such numbers is too large
import torch


def gradients_are_finite(gradients):
    """Good enough for a trainer that clips, and yet another question."""
    return bool(torch.stack([gradient.norm() for gradient in gradients]).norm().isfinite())
