# promised: the wrong way round
import torch


def gradients_are_finite(gradients):
    return bool(torch.stack([~torch.isfinite(gradient).all() for gradient in gradients]).any())
