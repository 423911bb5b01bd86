# promised: only k goes under it


def scaled_lr(lr, batch, new_batch, rule):
    k = new_batch / batch
    return lr * k if rule == "linear" else (lr * k) ** 0.5
