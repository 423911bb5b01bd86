# promised: returned an object of type bool, and a number is wanted


def scaled_lr(lr, batch, new_batch, rule):
    return True
