# right
import torch


def gradients_are_finite(gradients):
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    return flat.isfinite().all().item()
