# More memory than there is.
# marks: mean_of_parts_test 0, weights_test 1.5
# said: of memory, and
taken = []
while True:
    taken.append(bytearray(50_000_000))
