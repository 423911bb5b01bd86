# right
import numpy as np


def merge_pair(tokens, pair, new):
    array, merged, place = np.array(tokens, dtype=int), [], 0
    while place < len(array):
        if place + 1 < len(array) and (array[place], array[place + 1]) == pair:
            merged.append(new)
            place += 1
        else:
            merged.append(array[place])
        place += 1
    return merged
