# promised: is not written yet: fill the gap


def all_reduce(tensor, axis):
    raise NotImplementedError
