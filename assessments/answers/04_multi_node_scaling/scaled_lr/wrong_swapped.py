# promised: the rules are swapped


def scaled_lr(lr, batch, new_batch, rule):
    k = new_batch / batch
    return lr * (k if rule == "sqrt" else k**0.5)
