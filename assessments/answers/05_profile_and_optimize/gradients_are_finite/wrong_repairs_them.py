# promised: your function changed the gradients
import torch


def gradients_are_finite(gradients):
    found = torch.stack([torch.isfinite(gradient).all() for gradient in gradients]).all()
    for gradient in gradients:
        gradient.nan_to_num_()
    return bool(found)
