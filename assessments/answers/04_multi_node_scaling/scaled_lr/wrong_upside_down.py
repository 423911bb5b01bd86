# promised: upside down


def scaled_lr(lr, batch, new_batch, rule):
    k = batch / new_batch
    return lr * (k if rule == "linear" else k**0.5)
