# promised: has a number nan
import torch


def gradients_are_finite(gradients):
    return not bool(torch.stack([torch.isinf(gradient).any() for gradient in gradients]).any())
