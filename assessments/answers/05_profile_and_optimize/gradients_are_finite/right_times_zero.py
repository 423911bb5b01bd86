# right
def gradients_are_finite(gradients):
    """0 times a finite number is 0; of all others it is no number."""
    return float(sum((gradient * 0).sum() for gradient in gradients)) == 0.0
