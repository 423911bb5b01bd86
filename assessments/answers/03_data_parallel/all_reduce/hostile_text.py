# promised: your function returned an object of type str, not a tensor


def all_reduce(tensor, axis):
    return "the sum"
