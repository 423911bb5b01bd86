# promised: (2 of 4 inputs come out right)


def scaled_lr(lr, batch, new_batch, rule):
    k = new_batch // batch
    return lr * (k if rule == "linear" else k**0.5)
