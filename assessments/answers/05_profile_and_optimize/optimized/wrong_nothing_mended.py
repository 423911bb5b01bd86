# promised: still in train.slow: loader, heads, sync
def after(slow):
    return slow
