# promised: rank 1 is still busy. An endless loop? (On a very busy machine, try again with
# limit_s=20.) rank 0 has returned rank 1 is busy at line


def all_reduce(tensor, axis):
    if axis.rank == 1:
        while True:
            pass
    return tensor
