# right
import torch


def gradients_are_finite(gradients):
    found = [torch.isfinite(gradient).all() for gradient in gradients]
    return bool(torch.stack(found).all())
