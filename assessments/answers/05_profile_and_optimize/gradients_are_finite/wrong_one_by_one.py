# promised: one for each is what we want to be rid of
import torch


def gradients_are_finite(gradients):
    return all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
