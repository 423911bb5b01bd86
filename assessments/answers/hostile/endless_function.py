# A function that never returns: the cell is fine, the check of it is not.
# marks: mean_of_parts_test 0, weights_test 1.5
# ends: never
# said: your function mean_of_parts was not done after
def mean_of_parts(parts):
    while True:
        pass
