# promised: your function says True
import torch


def gradients_are_finite(gradients):
    return bool(torch.stack([torch.isfinite(gradient).all() for gradient in gradients]).any())
