# promised: An endless loop?
def gradients_are_finite(gradients):
    while True:
        pass
