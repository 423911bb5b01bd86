# promised: raised ZeroDivisionError: division by zero line 6: return tensor * (1 / 0)


def all_reduce(tensor, axis):
    """The line above all others."""
    return tensor * (1 / 0)
