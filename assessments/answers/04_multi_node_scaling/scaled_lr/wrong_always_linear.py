# promised: both rules are the linear one here


def scaled_lr(lr, batch, new_batch, rule):
    return lr * new_batch / batch
