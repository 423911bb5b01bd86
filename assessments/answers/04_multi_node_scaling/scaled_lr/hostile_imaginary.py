# promised: returned an object of type complex, and a number is wanted


def scaled_lr(lr, batch, new_batch, rule):
    return lr * (1 - new_batch / batch) ** 0.5
