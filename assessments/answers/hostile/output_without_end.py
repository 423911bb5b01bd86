# Lines, for ever.
# marks: mean_of_parts_test 0, weights_test 1.5
# ends: never
# said: the rest is left out
while True:
    print("x" * 1000)
