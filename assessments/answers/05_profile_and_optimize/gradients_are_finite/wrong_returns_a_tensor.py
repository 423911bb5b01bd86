# promised: returned a tensor: return True or False
import torch


def gradients_are_finite(gradients):
    return torch.stack([torch.isfinite(gradient).all() for gradient in gradients]).all()
