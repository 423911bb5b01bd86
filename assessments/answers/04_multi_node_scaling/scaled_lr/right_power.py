# right


def scaled_lr(lr, batch, new_batch, rule):
    return lr * (new_batch / batch) ** {"linear": 1.0, "sqrt": 0.5}[rule]
