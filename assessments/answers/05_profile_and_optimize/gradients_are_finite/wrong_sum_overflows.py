# promised: a sum or a norm of such numbers is too large
def gradients_are_finite(gradients):
    total = sum(gradient.sum() for gradient in gradients)
    return bool(total.isfinite())
