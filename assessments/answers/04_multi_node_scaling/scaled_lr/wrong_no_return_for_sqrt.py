# promised: something for every input


def scaled_lr(lr, batch, new_batch, rule):
    if rule == "linear":
        return lr * new_batch / batch
    if rule == "square root":
        return lr * (new_batch / batch) ** 0.5
