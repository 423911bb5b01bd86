# promised: no. 0 has a number inf
import torch


def gradients_are_finite(gradients):
    return not bool(torch.stack([torch.isnan(gradient).any() for gradient in gradients]).any())
