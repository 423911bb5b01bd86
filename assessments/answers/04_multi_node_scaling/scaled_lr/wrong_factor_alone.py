# promised: that is the factor alone


def scaled_lr(lr, batch, new_batch, rule):
    k = new_batch / batch
    return k if rule == "linear" else k**0.5
